"""The plain noise loss of Eq. 1, without GeoDiffusion's foreground weights (not in the paper's tables).

FID improves and the YOLO score falls without them: look at both.
"""

_base_ = "../detdiffusion_coco.py"

model = dict(noise_loss=dict(foreground=False))
