"""GeoDiffusion on COCO-Thing-Stuff: detdiffusion_coco.py with P.A. Attr and P.A. loss switched off.

Memory a GPU: 16.9 GB (computed, not measured; activations excluded), as detdiffusion_coco.py without the mask head.
"""

_base_ = "detdiffusion_coco.py"

train_pipeline = [
    dict(type="LoadLayoutImage", size=(256, 256)),
    dict(type="RandomFlipLayout", prob=0.5),
    dict(type="PackLayoutInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(layout_tokenizer=dict(attributes=False), mask_head=None, perception_loss=None)
