"""Table 7, second row, on MiniScenes: P.A. loss not weighted by sqrt(alpha_bar_t)."""

_base_ = "../detdiffusion_miniscenes.py"

model = dict(perception_loss=dict(weight_by=None))
