"""Table 7, third row, on MiniScenes: P.A. loss without dice."""

_base_ = "../detdiffusion_miniscenes.py"

model = dict(perception_loss=dict(use_dice=False))
