"""DetDiffusion on MiniScenes, fine-tuned from the zoo's layout checkpoint: P.A. Attr and P.A. loss.

`layout_folder` decides the layout condition: with the zoo's, boxes and attributes are tokens, as in the paper, and also
drawn at the network's input.
"""

_base_ = [
    "_base_/default_runtime.py",
    "_base_/datasets/miniscenes_layout.py",
    "_base_/models/detdiffusion_small.py",
    "_base_/schedules/generator_miniscenes.py",
]
attributes_file = _base_.data_root + "/attributes.json"
train_pipeline = [
    _base_.train_pipeline[0],
    dict(type="LoadLayoutMasks"),
    dict(type="LoadPerceptionAttributes", attributes_file=attributes_file),
    *_base_.train_pipeline[1:],
]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
max_iters = 800
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=40, end=max_iters, eta_min=1e-5),
]
custom_hooks = [dict(type="EMAHook", ema_type="MomentumAnnealingEMA", momentum=0.01, gamma=10)]
