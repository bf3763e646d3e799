"""The layout checkpoint of many looks: the base fine-tuned on layouts without P.A., drawn as a blueprint.

The shipped weights were trained with other batches and as many images, see detdiffusion/zoo/README.md.
"""

_base_ = "base_miniscenes.py"

base_folder = "zoo://miniscenes_base"
model = dict(
    text_encoder=dict(
        _delete_=True, type="CLIPTextModel", from_pretrained=base_folder, subfolder="text_encoder"
    ),
    unet=dict(_delete_=True, type="UNet2DConditionModel", from_pretrained=base_folder, subfolder="unet"),
    layout_tokenizer=dict(_delete_=True, template="compact", bins=(32, 32), attributes=False, max_length=48),
    layout_condition="blueprint",
    noise_loss=dict(foreground=True, snr_gamma=None, debiased=True),
    grounding_loss=dict(type="AttentionGroundingLoss", loss_weight=0.05),
)
max_iters = 20000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=200, end=max_iters, eta_min=1e-5),
]
