"""GeoDiffusion on COCO-Thing-Stuff: detdiffusion_coco.py with P.A. Attr and P.A. loss switched off.

Memory a GPU: 16.9 GB (computed, not measured; activations excluded), as detdiffusion_coco.py without the mask head.
"""

_base_ = "detdiffusion_coco.py"

train_pipeline = [
    step for step in _base_.train_pipeline if step.type not in ("LoadLayoutMasks", "LoadPerceptionAttributes")
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(layout_tokenizer=dict(attributes=False), mask_head=None, perception_loss=None)
