"""The plain noise loss of Eq. 1, without GeoDiffusion's foreground weights (not in the paper's tables).

Without them FID improves, but the YOLO score decreases: evaluate both.
"""

_base_ = "../detdiffusion_coco.py"

model = dict(noise_loss=dict(foreground=False))
