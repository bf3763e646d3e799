"""Table 4, second row, on MiniScenes: P.A. Attr without P.A. loss."""

_base_ = "../detdiffusion_miniscenes.py"

model = dict(mask_head=None, perception_loss=None)
