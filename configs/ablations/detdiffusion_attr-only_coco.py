"""Table 4, second row: P.A. Attr without P.A. loss (paper: FID 19.92, mAP 30.4)."""

_base_ = "../detdiffusion_coco.py"

model = dict(mask_head=None, perception_loss=None)
