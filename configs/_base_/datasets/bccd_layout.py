"""Blood cells (BCCD) as layouts at 192 x 144; `tools/dataset_converters/voc_to_coco.py` and
`tools/extract_attributes.py` write the two paths.
"""

data_root = "data/bccd"
attributes_file = "work_dirs/bccd/attributes.json"
image_size = (144, 192)  # height, width: the photographs' 3 : 4
# every cell that the tiny images can show; platelets take a 200th of a photograph
filter_cfg = dict(min_area_ratio=0.001, min_objects=1, max_objects=30)
train_pipeline = [
    dict(type="LoadLayoutImage", size=image_size, cache=True),
    dict(type="LoadLayoutMasks"),
    dict(type="LoadPerceptionAttributes", attributes_file=attributes_file),
    # under a microscope there is no upper side: four times the data
    dict(type="RandomFlipLayout", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PackLayoutInputs"),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    drop_last=True,
    sampler=dict(type="SeededInfiniteSampler", shuffle=True),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="LayoutCocoDataset",
        data_root=data_root,
        ann_files=["annotations/train.json"],
        img_dir="images",
        filter_cfg=filter_cfg,
        pipeline=train_pipeline,
    ),
)
# layouts that tools/generate.py draws images for, by split
layout_datasets = dict(
    train=dict(
        type="LayoutCocoDataset",
        data_root=data_root,
        ann_files=["annotations/train.json"],
        img_dir="images",
        filter_cfg=filter_cfg,
    ),
    test=dict(
        type="LayoutCocoDataset",
        data_root=data_root,
        ann_files=["annotations/test.json"],
        img_dir="images",
        filter_cfg=filter_cfg,
    ),
)
