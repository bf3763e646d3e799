"""The zoo's layout checkpoint: that of many looks, trained further on scenes of the classic look.

Boxes are drawn at the network's input and, as in GeoDiffusion, also tokens of the prompt.
"""

_base_ = "layout_looks_miniscenes.py"

data_root = "data/miniscenes"
base_folder = "zoo://miniscenes_looks"
model = dict(layout_condition="both")
max_iters = 5000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=200, end=max_iters, eta_min=1e-5),
]
