"""The zoo's VAE: 64 px images to 16 x 16 x 4 latents. Written by `tools/train.py configs/zoo/vae_miniscenes.py`."""

_base_ = ["../_base_/default_runtime.py", "../_base_/datasets/miniscenes_layout.py"]

train_split = "zoo"
model = dict(
    type="Autoencoder",
    vae=dict(
        type="AutoencoderKL",
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        block_out_channels=[16, 32, 64],
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
    ),
    kl_weight=1e-4,
    dtype="bf16",
)
data_root = {{_base_.data_root}}
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        ann_files=[data_root + "zoo/instances.json", data_root + "zoo/stuff.json"], img_dir=data_root + "zoo/images"
    ),
)
max_iters = 1200
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=2e-3, betas=(0.9, 0.99), weight_decay=0.0), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=100),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=100, end=max_iters, eta_min=2e-5),
]
default_hooks = dict(checkpoint=dict(interval=250))
