"""The small DetDiffusion of the zoo: parts from one diffusers folder, layout tokens, P.A. Attr and P.A. loss."""

layout_folder = "zoo://miniscenes_layout"
model = dict(
    type="DetDiffusion",
    vae=dict(type="AutoencoderKL", from_pretrained=layout_folder, subfolder="vae"),
    tokenizer=dict(type="CLIPTokenizer", from_pretrained=layout_folder, subfolder="tokenizer"),
    text_encoder=dict(type="CLIPTextModel", from_pretrained=layout_folder, subfolder="text_encoder"),
    unet=dict(type="UNet2DConditionModel", from_pretrained=layout_folder, subfolder="unet"),
    scheduler=dict(type="DDPMScheduler", from_pretrained=layout_folder, subfolder="scheduler"),
    test_scheduler=dict(type="DPMSolverMultistepScheduler"),
    # attribute_position: "last" in the paper; with "first" the attribute is learned within a few hundred steps
    layout_tokenizer=dict(
        template="compact", bins=(32, 32), attributes=True, attribute_position="first", max_length=48
    ),
    noise_loss=dict(type="NoiseLoss", foreground=True, debiased=True),
    mask_head=dict(
        type="MaskHead", hidden=48, num_queries=20, num_heads=4, ffn=128, num_layers=3, upsample=2
    ),
    perception_loss=dict(type="PerceptionAwareLoss", loss_weight=0.01),
    # not in the paper, but used in the training of the layout checkpoint
    grounding_loss=dict(type="AttentionGroundingLoss", loss_weight=0.05),
    cache_latents=True,
)
