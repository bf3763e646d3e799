"""The zoo's VAE: 64 px images to 8 x 8 x 16 latents, SD 1.5's factor of 8."""

_base_ = ["../_base_/default_runtime.py", "../_base_/datasets/miniscenes_layout.py"]

model = dict(
    type="Autoencoder",
    vae=dict(
        type="AutoencoderKL",
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[16, 32, 64, 96],
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=8,
        sample_size=64,
    ),
    kl_weight=3e-4,
)
train_dataloader = dict(
    batch_size=24,
    dataset=dict(ann_files=["zoo/instances.json", "zoo/stuff.json"], img_dir="zoo/images"),
)
max_iters = 1000
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0), clip_grad=dict(max_norm=1.0)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=100),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=100, end=max_iters, eta_min=2e-5),
]
default_hooks = dict(checkpoint=dict(interval=250))
