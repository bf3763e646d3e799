"""DetDiffusion on Stable Diffusion XL: two text encoders, micro-conditioning with the images' sizes, LoRA.

`sd_folder`: a diffusers folder of SDXL (model_index.json, unet/, vae/, text_encoder/, text_encoder_2/, tokenizer/,
tokenizer_2/, scheduler/), hub://OWNER/NAME, or a single safetensors file in the original format with CLIP's tokenizer
in a folder `tokenizer/` next to it (otherwise loaded from the hub).
"""

_base_ = "detdiffusion_sd15.py"

sd_folder = "./models/stable-diffusion-xl-base-1.0"
model = dict(
    backbone=dict(
        type="StableDiffusionXL",
        text_encoder_2=dict(
            type="CLIPTextModelWithProjection", from_pretrained=sd_folder, subfolder="text_encoder_2"
        ),
        tokenizer_2=dict(type="CLIPTokenizer", from_pretrained=sd_folder, subfolder="tokenizer_2"),
    ),
    unet=dict(sample_size=128),  # 1024 px
    lora=dict(r=16, lora_alpha=16),
    gradient_checkpointing=True,
)
