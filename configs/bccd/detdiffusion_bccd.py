"""DetDiffusion on BCCD at 192 x 144: a small UNet and text encoder trained from scratch on TAESD latents.

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
max_length = 128  # tokens per prompt: 30 cells of 4 tokens each
model = dict(
    # TAESD's latents of these photographs have a standard deviation of 0.55 within channels; scaled to the noise's
    vae=dict(type="AutoencoderTiny", from_pretrained=vae_folder, scaling_factor=1.8),
    tokenizer=dict(type="CLIPTokenizer", from_pretrained=tokenizer_folder),
    # 600: size of the tokenizer's vocabulary; embeddings of location and attribute tokens are added automatically
    text_encoder=dict(vocab_size=600, max_position_embeddings=max_length),
    unet=dict(
        sample_size=[18, 24],
        in_channels=4,
        out_channels=4,
        block_out_channels=[48, 96, 128],
        # No cross-attention in the finest down block, where features do not encode the position yet
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    ),
    scheduler=dict(
        # When training from scratch, epsilon prediction learns slowly at high noise levels, which determine layout and
        # colour. After 90 steps the error of the clean latents of 16 held-out photographs, divided by their variance,
        # is 1.12 (v) and 10.1 (epsilon) at t = 999, 1.01 and 2.03 at 800, 0.79 and 0.99 at 600, 0.37 and 0.41 at 300
        # (both with debiased weights).
        prediction_type="v_prediction",
    ),
    # One bin per 4 px of the image; for attribute_position see detdiffusion/zoo/README.md
    layout_tokenizer=dict(
        template="compact", bins=(36, 48), attributes=True, attribute_position="first", max_length=max_length
    ),
    # No weights by noise level: for v-prediction this gives the highest weight to high noise levels, which determine
    # the positions of cells; debiased=True would reduce it to a fifth
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
