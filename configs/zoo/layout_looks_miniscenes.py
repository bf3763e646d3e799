"""The layout checkpoint on the VAE of many looks: the base trained further on layouts without P.A. (GeoDiffusion).

`base_folder` is what `to_diffusers.py` wrote of `base_looks_miniscenes.py`.
"""

_base_ = "layout_miniscenes.py"

data_root = "data/looks"
base_folder = "work_dirs/zoo_base_looks_folder"
model = dict(vae=dict(type="AutoencoderKL", from_pretrained="zoo://miniscenes_vae", subfolder="vae"))
