"""The paper's schedule: 60 epochs, AdamW 1e-4, 3,000 warm-up steps, cosine; total batch size 32 (8 GPUs x 4)."""

max_epochs = 60
train_cfg = dict(type="ResumableEpochLoop", max_epochs=max_epochs)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-2, fused=True),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=3000),
    dict(type="CosineAnnealingLR", begin=0, end=max_epochs, eta_min=0.0, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=32)  # used with tools/train.py --auto-scale-lr
# No EMA: the paper does not mention it, and it needs another 4 GB per GPU. To enable it:
# custom_hooks = [dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=1e-4)]
