"""The zoo's VAE: 64 px images to 8 x 8 x 32 latents, SD 1.5's factor of 8.

Trained on scenes of many looks and on patches of photographs, so that it shows domains that it never saw. It goes
on from the first version's weights, with new layers at the latents. Folders of your own:
--cfg-options looks=DIR data_root=DIR photographs=DIR warm_start=DIR
"""

_base_ = "../_base_/default_runtime.py"

data_root = "data/miniscenes"  # the first look
looks = "data/looks"  # another one each image
photographs = "data/photographs"  # any folder of photographs
warm_start = "zoo://miniscenes_base/vae"  # the first version; see the zoo's README for the commit that has it
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
        latent_channels=32,
        norm_num_groups=8,
        sample_size=64,
    ),
    warm_start=warm_start,
    kl_weight=3e-4,
    edge_weight=0.5,
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
            dict(img_dir=photographs, repeat=40, patch=(0.2, 1.0)),
        ],
    ),
)
max_iters = 8000
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters)
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0), clip_grad=dict(max_norm=1.0)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=100),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=100, end=max_iters, eta_min=1e-5),
]
default_hooks = dict(checkpoint=dict(interval=100), logger=dict(interval=20))
