"""MiniScenes as layouts: things and stuff, LAMA's filter, 64 px."""

data_root = "data/miniscenes/"
train_split, val_split = "train", "val"
image_size = (64, 64)
batch_size = 64
train_pipeline = [
    dict(type="LoadLayoutImage", size=image_size, cache=True),
    dict(type="RandomFlipLayout", prob=0.5),
    dict(type="PackLayoutInputs"),
]
val_pipeline = [dict(type="LoadLayoutImage", size=image_size), dict(type="PackLayoutInputs")]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=0,
    drop_last=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="LayoutCocoDataset",
        ann_files=[data_root + train_split + "/instances.json", data_root + train_split + "/stuff.json"],
        img_dir=data_root + train_split + "/images",
        pipeline=train_pipeline,
    ),
)
# layouts that tools/generate.py draws images for, by split
layout_datasets = dict(
    train=dict(
        type="LayoutCocoDataset",
        ann_files=[data_root + train_split + "/instances.json", data_root + train_split + "/stuff.json"],
        img_dir=data_root + train_split + "/images",
    ),
    val=dict(
        type="LayoutCocoDataset",
        ann_files=[data_root + val_split + "/instances.json", data_root + val_split + "/stuff.json"],
        img_dir=data_root + val_split + "/images",
    ),
)
