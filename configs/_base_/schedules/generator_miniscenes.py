"""Schedule of the small generators: AdamW, warm-up, cosine, EMA."""

max_iters = 1000
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-2, fused=True),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=100, end=max_iters, eta_min=1e-5),
]
custom_hooks = [dict(type="EMAHook", ema_type="MomentumAnnealingEMA", momentum=0.002, gamma=100)]
