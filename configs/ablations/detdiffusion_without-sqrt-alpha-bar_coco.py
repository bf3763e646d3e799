"""Table 7, second row: P.A. loss not weighted by sqrt(alpha_bar_t) (paper: mAP 29.6; with it 31.2)."""

_base_ = "../detdiffusion_coco.py"

model = dict(perception_loss=dict(weight_by=None))
