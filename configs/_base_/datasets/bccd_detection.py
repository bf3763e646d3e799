# Blood cells (BCCD) for detectors; `tools/dataset_converters/voc_to_coco.py BCCD_FOLDER --out data/bccd` writes it.
# Another set of your own: change data_root, classes and image_scale (docs/own_data.md).
_base_ = "../pipelines/detection.py"
custom_imports = dict(imports=["detdiffusion.datasets.checked_coco", "detdiffusion.datasets.synthetic_coco"])
data_root = "data/bccd/"
image_scale = (320, 240)  # width, height: half of the photographs' size

metainfo = dict(classes=("Platelets", "RBC", "WBC"))
train_pipeline = [
    dict(step, scale=image_scale) if step.type == "Resize" else step for step in _base_.train_pipeline
]
test_pipeline = [
    dict(step, scale=image_scale) if step.type == "Resize" else step for step in _base_.test_pipeline
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="detdiffusion.CheckedCocoDataset",
        data_root=data_root,
        ann_file="annotations/train.json",
        data_prefix=dict(img="images/"),
        metainfo=metainfo,
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="detdiffusion.CheckedCocoDataset",
        data_root=data_root,
        ann_file="annotations/test.json",
        data_prefix=dict(img="images/"),
        metainfo=metainfo,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type="CocoMetric", ann_file=data_root + "annotations/test.json", metric="bbox", classwise=True
)
test_evaluator = val_evaluator
