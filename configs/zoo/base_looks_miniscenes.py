"""The base on the VAE of many looks: captions of scenes that each look different, so that classes are shapes.

Latents are 16 x 16 x 8; the UNet's first and last level are narrow and have no attention, so that a step costs about
what one of `base_miniscenes.py` costs. Needs `zoo://miniscenes_vae` and the tokenizer of `zoo://miniscenes_base`.
"""

_base_ = "base_miniscenes.py"

data_root = "data/looks"
base_folder = "zoo://miniscenes_base"
model = dict(
    vae=dict(type="AutoencoderKL", from_pretrained="zoo://miniscenes_vae", subfolder="vae"),
    unet=dict(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=[32, 64, 96, 64],
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    ),
)
max_iters = 4000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=200, end=max_iters, eta_min=1e-4),
]
