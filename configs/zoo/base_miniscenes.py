"""The zoo's base model: a text-to-image model of MiniScenes that takes the role of Stable Diffusion.

It is trained with captions without layouts, ``An image with`` + class names, on scenes of which each has another look,
so classes are defined by shape. It consists of diffusers and transformers classes with SD 1.5's architecture and a
small width; the UNet's first and last level are narrow and have no attention. Needs `zoo://miniscenes_vae` and the
tokenizer of `zoo://miniscenes_base`.
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/datasets/miniscenes_layout.py",
    "../_base_/models/generator_scratch.py",
    "../_base_/schedules/generator_miniscenes.py",
]

data_root = "data/looks"
base_folder = "zoo://miniscenes_base"
model = dict(
    vae=dict(type="AutoencoderKL", from_pretrained="zoo://miniscenes_vae", subfolder="vae"),
    tokenizer=dict(type="CLIPTokenizer", from_pretrained=base_folder, subfolder="tokenizer"),
    text_encoder=dict(
        vocab_size=581,
        max_position_embeddings=48,
        bos_token_id=579,
        eos_token_id=580,
        pad_token_id=580,
    ),
    unet=dict(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=[32, 64, 96, 64],
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    ),
    layout_tokenizer=dict(template="caption", max_length=48),
    noise_loss=dict(type="NoiseLoss", foreground=False, snr_gamma=5.0),
)
train_dataloader = dict(
    batch_size=32,
    dataset=dict(ann_files=["zoo/instances.json", "zoo/stuff.json"], img_dir="zoo/images"),
)
max_iters = 4000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=200, end=max_iters, eta_min=1e-4),
]
