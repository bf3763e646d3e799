# Faster R-CNN on real and generated images of MiniScenes; the share of generated images falls over the training.
# Generated images first and real ones last: --cfg-options fall_begin=400 fall_end=400
# A weight of the generated images in the loss: --cfg-options synthetic_weight=0.5
_base_ = "./faster-rcnn_mixed_miniscenes.py"
custom_imports = dict(
    imports=[
        "detdiffusion.datasets.checked_coco",
        "detdiffusion.datasets.synthetic_coco",
        "detdiffusion.datasets.share_schedule",
    ]
)
first_share = 1.0  # share of generated images before iteration fall_begin
last_share = 0.0  # and from iteration fall_end on
fall_begin = 0
fall_end = _base_.max_iters
synthetic_weight = 1.0

train_dataloader = dict(
    sampler=dict(
        _delete_=True,
        type="detdiffusion.ScheduledShareSampler",
        batch_size=_base_.train_dataloader.batch_size,
        start_share=first_share,
        end_share=last_share,
        begin=fall_begin,
        end=fall_end,
    )
)
custom_hooks = [dict(type="detdiffusion.SyntheticWeightHook", weight=synthetic_weight)]
