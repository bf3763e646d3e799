"""DetDiffusion on BCCD without Stable Diffusion: a small UNet and text encoder from nothing, TAESD latents, 192 x 144.

Needs data/bccd (tools/dataset_converters/voc_to_coco.py), its attributes, TAESD as a diffusers folder and a tokenizer
of the class names; docs/own_data.md has the commands.
"""

_base_ = [
    "../_base_/default_runtime.py",
    "../_base_/datasets/bccd_layout.py",
    "../_base_/models/generator_scratch.py",
    "../_base_/schedules/generator_miniscenes.py",
]

vae_folder = "work_dirs/bccd/taesd"
tokenizer_folder = "work_dirs/bccd/tokenizer"
max_length = 128  # tokens a prompt: 30 cells of 4 tokens each
model = dict(
    # TAESD gives these photographs' latents a deviation of 0.55 about their channels' means; the noise has 1
    vae=dict(type="AutoencoderTiny", from_pretrained=vae_folder, scaling_factor=1.8),
    tokenizer=dict(type="CLIPTokenizer", from_pretrained=tokenizer_folder),
    # 600: of the tokenizer's words; rows for location and attribute tokens are added
    text_encoder=dict(vocab_size=600, max_position_embeddings=max_length),
    unet=dict(
        sample_size=[18, 24],
        in_channels=4,
        out_channels=4,
        block_out_channels=[48, 96, 128],
        # The finest level attends on the way up only: on the way down its cells do not know yet where they are
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    ),
    scheduler=dict(
        # From nothing, epsilon is slow where layout and colour are settled. After 90 steps the error of the clean
        # latents of 16 held-out photographs, over their variance, is 1.12 (v) and 10.1 (epsilon) at t = 999, 1.01 and
        # 2.03 at 800, 0.79 and 0.99 at 600, 0.37 and 0.41 at 300 (both with debiased weights).
        prediction_type="v_prediction",
    ),
    # A bin is 4 px of the image; attributes in front: see detdiffusion/zoo/README.md
    layout_tokenizer=dict(
        template="compact", bins=(36, 48), attributes=True, attribute_position="first", max_length=max_length
    ),
    # No weights by noise level: for v they are the ones under which heavy noise, where the place of a cell is settled,
    # counts most. debiased=True gives it a fifth of that
    noise_loss=dict(type="NoiseLoss", foreground=True),
    mask_head=dict(type="MaskHead", hidden=64, num_queries=40, num_heads=4, ffn=128, num_layers=3),
    perception_loss=dict(type="PerceptionAwareLoss", loss_weight=0.01),
    grounding_loss=dict(type="AttentionGroundingLoss", loss_weight=0.1),
)
max_iters = 1500
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=100, end=max_iters, eta_min=1e-5),
]
custom_hooks = [dict(type="EMAHook", ema_type="MomentumAnnealingEMA", momentum=0.002, gamma=10)]
default_hooks = dict(checkpoint=dict(interval=100))
