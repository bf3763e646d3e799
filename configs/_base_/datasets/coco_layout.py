"""COCO-Thing-Stuff 2017 as layouts at 256 x 256: LAMA's filter, attributes and masks.

`data_root` holds train2017/, val2017/ and annotations/ with {instances,stuff}_{train,val}2017.json (from
cocodataset.org: images, "2017 Train/Val annotations", "2017 Stuff Train/Val annotations"). The classes are all of
the two json files but `other`: 80 things and 91 stuff. `attributes_file` is written by
`tools/extract_attributes.py --detector CONFIG WEIGHTS --ann instances_train2017.json --ann stuff_train2017.json`.
Elsewhere: --cfg-options data_root=/data/coco attributes_file=/data/attributes.json
"""

_base_ = "../pipelines/perception_layout.py"

data_root = "data/coco"
attributes_file = data_root + "/annotations/attributes_train2017.json"
train_pipeline = [
    dict(step, attributes_file=attributes_file) if step.type == "LoadPerceptionAttributes" else step
    for step in _base_.train_pipeline
]
filter_cfg = dict(min_area_ratio=0.02, min_objects=3, max_objects=8, drop_classes=("other",))
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type="SeededSampler", shuffle=True),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="LayoutCocoDataset",
        data_root=data_root,
        ann_files=["annotations/instances_train2017.json", "annotations/stuff_train2017.json"],
        img_dir="train2017",
        filter_cfg=filter_cfg,
        pipeline=train_pipeline,
    ),
)
# layouts that tools/generate.py draws images for, by split
layout_datasets = dict(
    train=dict(
        type="LayoutCocoDataset",
        data_root=data_root,
        ann_files=["annotations/instances_train2017.json", "annotations/stuff_train2017.json"],
        img_dir="train2017",
        filter_cfg=filter_cfg,
    ),
    # the paper's trainability images, things only; tools/analysis_tools/trainability_subset.py counts them
    trainability=dict(
        type="LayoutCocoDataset",
        data_root=data_root,
        ann_files=["annotations/instances_train2017.json"],
        img_dir="train2017",
        filter_cfg=filter_cfg,
    ),
    val=dict(  # 3,097 layouts
        type="LayoutCocoDataset",
        data_root=data_root,
        ann_files=["annotations/instances_val2017.json", "annotations/stuff_val2017.json"],
        img_dir="val2017",
        filter_cfg=filter_cfg,
    ),
)
