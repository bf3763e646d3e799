"""MiniScenes as layouts: things and stuff, LAMA's filter, 64 px."""

data_root = "data/miniscenes"
image_size = (64, 64)
train_pipeline = [
    dict(type="LoadLayoutImage", size=image_size, cache=True),
    dict(type="RandomFlipLayout", prob=0.5),
    dict(type="PackLayoutInputs"),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    drop_last=True,
    sampler=dict(type="SeededInfiniteSampler", shuffle=True),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="LayoutCocoDataset",
        data_root=data_root,
        ann_files=["train/instances.json", "train/stuff.json"],
        img_dir="train/images",
        pipeline=train_pipeline,
    ),
)
# layouts for tools/generate.py, by split
layout_datasets = dict(
    train=dict(
        type="LayoutCocoDataset",
        data_root=data_root,
        ann_files=["train/instances.json", "train/stuff.json"],
        img_dir="train/images",
    ),
    val=dict(
        type="LayoutCocoDataset",
        data_root=data_root,
        ann_files=["val/instances.json", "val/stuff.json"],
        img_dir="val/images",
    ),
)
