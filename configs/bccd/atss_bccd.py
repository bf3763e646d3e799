# ATSS trained on the real photographs of BCCD, as the reference; tested on the photographs of `test`.
_base_ = [
    "../_base_/models/atss_small.py",
    "../_base_/datasets/bccd_detection.py",
    "../_base_/schedules/miniscenes_detection.py",
]
model = dict(bbox_head=dict(num_classes=3))

max_iters = 600  # about 7 minutes on one CPU core; for a shorter run: --cfg-options max_iters=200
train_cfg = dict(max_iters=max_iters, val_interval=100)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.04, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=50, end=max_iters),
]
default_hooks = dict(checkpoint=dict(interval=100))  # for --resume
