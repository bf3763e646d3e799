"""Schedule of a generator from scratch on a small set: AdamW, warm-up, cosine, EMA; `max_iters` is a variable."""

_base_ = ["../default_runtime.py", "generator_miniscenes.py"]

max_iters = 1500
warm_up = 100
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=warm_up),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=warm_up, end=max_iters, eta_min=1e-5),
]
custom_hooks = [dict(type="EMAHook", ema_type="MomentumAnnealingEMA", momentum=0.002, gamma=10)]
default_hooks = dict(checkpoint=dict(interval=100))
