"""The layout checkpoint of many looks: the base of many looks fine-tuned on layouts without P.A., drawn as a blueprint.

`base_folder` is the model of `base_looks_miniscenes.py`, exported by `to_diffusers.py`. The shipped weights were
trained with other batches and as many images, see detdiffusion/zoo/README.md.
"""

_base_ = "layout_miniscenes.py"

data_root = "data/looks"
base_folder = "work_dirs/zoo_base_looks_folder"
model = dict(
    vae=dict(type="AutoencoderKL", from_pretrained="zoo://miniscenes_vae", subfolder="vae"),
    layout_condition="blueprint",
)
max_iters = 20000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=200, end=max_iters, eta_min=1e-5),
]
