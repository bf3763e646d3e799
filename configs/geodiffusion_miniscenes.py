"""GeoDiffusion on MiniScenes: detdiffusion_miniscenes.py with P.A. Attr and P.A. loss switched off."""

_base_ = "detdiffusion_miniscenes.py"

train_pipeline = [
    dict(type="LoadLayoutImage", size=(64, 64), cache=True),
    dict(type="RandomFlipLayout", prob=0.5),
    dict(type="PackLayoutInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(layout_tokenizer=dict(attributes=False), mask_head=None, perception_loss=None)
