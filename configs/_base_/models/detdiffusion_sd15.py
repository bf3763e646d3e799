"""DetDiffusion on Stable Diffusion 1.5, as in the paper; choices that the paper leaves open are explicit options.

`sd_folder`: a diffusers folder of any SD 1.x model (model_index.json, unet/, vae/, text_encoder/, tokenizer/,
scheduler/), hub://OWNER/NAME, or a single safetensors file in the original format with CLIP's tokenizer in a folder
`tokenizer/` next to it (otherwise loaded from the hub), e.g. --cfg-options sd_folder=/models/stable-diffusion-v1-5
"""

sd_folder = "./models/stable-diffusion-v1-5"
model = dict(
    type="DetDiffusion",
    vae=dict(type="AutoencoderKL", from_pretrained=sd_folder, subfolder="vae"),
    tokenizer=dict(type="CLIPTokenizer", from_pretrained=sd_folder, subfolder="tokenizer"),
    text_encoder=dict(type="CLIPTextModel", from_pretrained=sd_folder, subfolder="text_encoder"),
    # sample_size: default latent size of generated images, 32 for 256 px
    unet=dict(type="UNet2DConditionModel", from_pretrained=sd_folder, subfolder="unet", sample_size=32),
    scheduler=dict(type="DDPMScheduler", from_pretrained=sd_folder, subfolder="scheduler"),
    test_scheduler=dict(type="DPMSolverMultistepScheduler"),
    layout_tokenizer=dict(
        template="compact", bins=(256, 256), attributes=True, overflow="largest", max_length=77, shuffle=True
    ),
    noise_loss=dict(type="NoiseLoss", foreground=True, snr_gamma=None),  # GeoDiffusion's foreground weights
    mask_head=dict(type="MaskHead", hidden=256, num_queries=100, num_heads=8, ffn=2048, num_layers=3),
    perception_loss=dict(
        type="PerceptionAwareLoss",
        loss_weight=0.01,
        use_mask=True,
        use_dice=True,
        weight_by="sqrt_alpha_bar",
        assign="hungarian",
    ),
    taps="decoder",
    null_text_prob=0.1,
    noise_offset=0.0,
    perception_on_null_text=True,
    dtype="bf16",  # autocast; weights, gradients and losses stay float32. "fp32" on GPUs without bfloat16
    gradient_checkpointing=False,
    cache_latents=True,  # True: in the work dir, 32 KB per image at 256 x 256; or a folder shared by runs; or False
    # lora=dict(r=16): train low-rank updates only, see detdiffusion_lora_coco.py
)
sampling = dict(plan="paper")  # of tools/generate.py: 50 steps, CFG 3.5
