# Faster R-CNN R50-FPN on real COCO alone for as many iterations as 6 epochs of real + synthetic images take.
_base_ = "./faster-rcnn_r50_fpn_real_coco.py"
custom_imports = dict(
    imports=["detdiffusion.datasets.checked_coco", "detdiffusion.datasets.equal_length_sampler"]
)
synthetic_root = "work_dirs/synthetic_coco/hard"  # of the arm to compare with

train_dataloader = dict(
    sampler=dict(_delete_=True, type="detdiffusion.EqualLengthSampler", synthetic_root=synthetic_root)
)
