"""A small generator trained from scratch: SD 1.5's architecture with a small width, SD's noise schedule.

Configs must set VAE, tokenizer, the text encoder's vocabulary and length, and the UNet's blocks and latents.
"""

model = dict(
    type="DetDiffusion",
    text_encoder=dict(
        type="CLIPTextModel",
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        embedding_std=0.5,
    ),
    unet=dict(
        type="UNet2DConditionModel",
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=128,
        norm_num_groups=16,
    ),
    scheduler=dict(
        type="DDPMScheduler",
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        prediction_type="epsilon",
        clip_sample=False,
        steps_offset=1,
    ),
    test_scheduler=dict(type="DPMSolverMultistepScheduler"),
    cache_latents=True,
)
