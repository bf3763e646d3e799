"""The zoo's VAE, second stage: fine-tunes the decoder only, so that latents do not change."""

_base_ = "vae_miniscenes.py"

model = dict(
    vae=dict(_delete_=True, type="AutoencoderKL", from_pretrained="zoo://miniscenes_base", subfolder="vae"),
    freeze_encoder=True,
    edge_weight=0.5,
)
