"""Any COCO set as layouts; everything that depends on the data is a variable.

A config that inherits this file sets the variables alone, see configs/_base_/datasets/bccd_layout.py. tools/augment.py
derives them from the annotations.
"""

data_root = "data/mine"
train_ann = data_root + "/annotations/train.json"
val_ann = data_root + "/annotations/val.json"
test_ann = data_root + "/annotations/test.json"
train_images = data_root + "/images"
val_images = data_root + "/images"
test_images = data_root + "/images"
attributes_file = "work_dirs/mine/attributes/train.json"
classes = None  # names of the classes to use; None: all
image_size = (192, 192)  # height, width
filter_cfg = dict(min_area_ratio=0.001, min_objects=1, max_objects=30)
flip_prob = 0.5
flip_directions = ["horizontal"]  # without an upper side: 0.75, ["horizontal", "vertical", "diagonal"]
batch_size = 8

train_pipeline = [
    dict(type="LoadLayoutImage", size=image_size, cache=True),
    dict(type="LoadLayoutMasks"),
    dict(type="LoadPerceptionAttributes", attributes_file=attributes_file),
    dict(type="RandomFlipLayout", prob=flip_prob, direction=flip_directions),
    dict(type="PackLayoutInputs"),
]
# layouts for tools/generate.py, by split
layout_datasets = {
    split: dict(
        type="LayoutCocoDataset",
        ann_files=[ann_file],
        img_dir=img_dir,
        classes=classes,
        filter_cfg=filter_cfg,
    )
    for split, ann_file, img_dir in (
        ("train", train_ann, train_images),
        ("val", val_ann, val_images),
        ("test", test_ann, test_images),
    )
}
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=0,
    drop_last=True,
    sampler=dict(type="SeededInfiniteSampler", shuffle=True),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(layout_datasets["train"], pipeline=train_pipeline),
)
