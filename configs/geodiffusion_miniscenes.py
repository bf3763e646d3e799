"""GeoDiffusion on MiniScenes: detdiffusion_miniscenes.py without P.A. Attr and P.A. loss.

Unlike in GeoDiffusion, boxes are also drawn at the network's input, as in all generators from the zoo's layout
checkpoint.
"""

_base_ = "detdiffusion_miniscenes.py"

train_pipeline = [
    step for step in _base_.train_pipeline if step.type not in ("LoadLayoutMasks", "LoadPerceptionAttributes")
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(layout_tokenizer=dict(attributes=False), mask_head=None, perception_loss=None)
