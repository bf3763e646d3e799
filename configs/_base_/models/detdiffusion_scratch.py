"""DetDiffusion trained from scratch on the latents of a ready autoencoder, for a set of a few hundred photographs.

A small UNet and text encoder, v-prediction, and a loss on the cross-attention. What depends on the data is a variable;
configs/bccd/detdiffusion_bccd.py sets all of them, and tools/augment.py derives them.
"""

_base_ = "generator_scratch.py"

vae_folder = "work_dirs/taesd"  # a diffusers folder
vae_type = "AutoencoderTiny"
scaling_factor = 1.0  # 1 / standard deviation of the set's latents, which scales them to the noise's
tokenizer_folder = "work_dirs/tokenizer"  # tools/model_converters/small_tokenizer.py
vocab_size = 600  # of that tokenizer; embeddings of location and attribute tokens are added automatically
max_length = 77  # tokens per prompt
latent_size = (24, 24)  # height, width
bins = (48, 48)  # rows, columns of the location grid: one per 4 px of the image
model = dict(
    vae=dict(type=vae_type, from_pretrained=vae_folder, scaling_factor=scaling_factor),
    tokenizer=dict(type="CLIPTokenizer", from_pretrained=tokenizer_folder),
    text_encoder=dict(vocab_size=vocab_size, max_position_embeddings=max_length),
    unet=dict(
        sample_size=latent_size,
        in_channels=4,
        out_channels=4,
        block_out_channels=[48, 96, 128],
        # No cross-attention in the finest down block, where features do not encode the position yet
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    ),
    # When training from scratch, epsilon prediction learns slowly at high noise levels, which determine layout and
    # colour. After 90 steps on BCCD the error of the clean latents of 16 held-out photographs, divided by their
    # variance, is 1.12 (v) and 10.1 (epsilon) at t = 999, 1.01 and 2.03 at 800, 0.79 and 0.99 at 600, 0.37 and 0.41 at
    # 300 (both with debiased weights).
    scheduler=dict(prediction_type="v_prediction"),
    # for attribute_position see detdiffusion/zoo/README.md
    layout_tokenizer=dict(
        template="compact", bins=bins, attributes=True, attribute_position="first", max_length=max_length
    ),
    # No weights by noise level: for v-prediction this gives the highest weight to high noise levels, which determine
    # the positions of objects; debiased=True would reduce it to a fifth
    noise_loss=dict(type="NoiseLoss", foreground=True),
    mask_head=dict(type="MaskHead", hidden=64, num_queries=40, num_heads=4, ffn=128, num_layers=3),
    perception_loss=dict(type="PerceptionAwareLoss", loss_weight=0.01),
    grounding_loss=dict(type="AttentionGroundingLoss", loss_weight=0.1),
)
