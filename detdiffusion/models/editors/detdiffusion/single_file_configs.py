"""Configurations of the parts of Stable Diffusion 1.x and XL, which a single file lacks."""

_VAE = dict(
    _class_name="AutoencoderKL",
    in_channels=3,
    out_channels=3,
    latent_channels=4,
    block_out_channels=[128, 256, 512, 512],
    layers_per_block=2,
    down_block_types=["DownEncoderBlock2D"] * 4,
    up_block_types=["UpDecoderBlock2D"] * 4,
)
_TEXT_ENCODER = dict(  # CLIP ViT-L/14
    vocab_size=49408,
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    max_position_embeddings=77,
    hidden_act="quick_gelu",
    bos_token_id=49406,
    eos_token_id=49407,
    pad_token_id=49407,
)
_SCHEDULER = dict(
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    prediction_type="epsilon",
    clip_sample=False,
    steps_offset=1,
)

SD1_CONFIGS = dict(
    unet=dict(
        _class_name="UNet2DConditionModel",
        sample_size=64,
        in_channels=4,
        out_channels=4,
        block_out_channels=[320, 640, 1280, 1280],
        layers_per_block=2,
        attention_head_dim=8,
        cross_attention_dim=768,
        down_block_types=["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    ),
    vae=dict(_VAE, sample_size=512, scaling_factor=0.18215),
    text_encoder=_TEXT_ENCODER,
    scheduler=_SCHEDULER,
)

SDXL_CONFIGS = dict(
    unet=dict(
        _class_name="UNet2DConditionModel",
        sample_size=128,
        in_channels=4,
        out_channels=4,
        block_out_channels=[320, 640, 1280],
        layers_per_block=2,
        attention_head_dim=[5, 10, 20],
        cross_attention_dim=2048,
        transformer_layers_per_block=[1, 2, 10],
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
        down_block_types=["DownBlock2D"] + ["CrossAttnDownBlock2D"] * 2,
        up_block_types=["CrossAttnUpBlock2D"] * 2 + ["UpBlock2D"],
    ),
    vae=dict(_VAE, sample_size=1024, scaling_factor=0.13025, force_upcast=True),
    text_encoder=dict(_TEXT_ENCODER, projection_dim=768),
    text_encoder_2=dict(  # OpenCLIP ViT-bigG/14
        _TEXT_ENCODER,
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=20,
        hidden_act="gelu",
        projection_dim=1280,
        pad_token_id=0,
    ),
    scheduler=_SCHEDULER,
)
