# Faster R-CNN R50-FPN on real COCO alone for as many iterations as 6 epochs of real + synthetic images take.
_base_ = "./faster-rcnn_r50_fpn_real_coco.py"

num_real = 117266  # training images with objects
synthetic_root = "{{$SYNTHETIC_ROOT:work_dirs/synthetic_coco/hard}}"  # tools/generate.py --out
num_synthetic = int("{{$NUM_SYNTHETIC:47429}}")  # where that set is not there: the paper's subset
if __import__("os").path.isfile(synthetic_root + "/annotations.json"):
    num_synthetic = len(__import__("json").load(open(synthetic_root + "/annotations.json"))["images"])
epoch = -(-(num_real + num_synthetic) // 16)

train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=6 * epoch, val_interval=epoch)
train_dataloader = dict(sampler=dict(type="InfiniteSampler"))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type="MultiStepLR",
        begin=0,
        end=6 * epoch,
        by_epoch=False,
        milestones=[4 * epoch, 5 * epoch],
        gamma=0.1,
    ),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=epoch))
log_processor = dict(by_epoch=False)
