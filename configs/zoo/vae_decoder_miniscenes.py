"""The zoo's VAE, second part: its decoder trained further, the latents as they are."""

_base_ = "vae_miniscenes.py"

model = dict(
    vae=dict(_delete_=True, type="AutoencoderKL", from_pretrained="zoo://miniscenes_base", subfolder="vae"),
    freeze_encoder=True,
    edge_weight=0.5,
)
