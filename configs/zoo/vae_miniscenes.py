"""The VAE of all models of the zoo, which generalises to other domains: 64 px images to 16 x 16 x 8 latents.

It is trained on scenes of many looks and on patches of photographs. Folders are set by
--cfg-options looks=DIR data_root=DIR photographs=DIR
"""

_base_ = "../_base_/default_runtime.py"

data_root = "data/miniscenes"  # scenes with the classic look
looks = "data/looks"  # scenes with a random look for each image
photographs = "data/photographs"  # any folder of photographs
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
        latent_channels=8,
        norm_num_groups=1,
        sample_size=64,
    ),
    kl_weight=3e-4,
    edge_weight=0.5,
    linear_start=True,
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    drop_last=True,
    sampler=dict(type="SeededInfiniteSampler", shuffle=True),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="ImagePatches",
        size=64,
        sources=[
            dict(img_dir=looks + "/zoo/images"),
            dict(img_dir=data_root + "/zoo/images"),
            dict(img_dir=photographs, repeat=20, patch=(0.2, 1.0)),
        ],
    ),
)
max_iters = 4000
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=1.5e-3, betas=(0.9, 0.99), weight_decay=0.0), clip_grad=dict(max_norm=1.0)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=100),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=100, end=max_iters, eta_min=1e-5),
]
default_hooks = dict(checkpoint=dict(interval=100), logger=dict(interval=20))
custom_hooks = [dict(type="EMAHook", ema_type="MomentumAnnealingEMA", momentum=0.005, gamma=100)]
