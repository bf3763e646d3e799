"""Table 7, third row: P.A. loss without dice (paper: mAP 29.6; with it 31.2)."""

_base_ = "../detdiffusion_coco.py"

model = dict(perception_loss=dict(use_dice=False))
