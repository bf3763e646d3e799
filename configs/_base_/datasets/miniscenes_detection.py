# MiniScenes for detectors; `tools/dataset_converters/miniscenes.py --out data/miniscenes` writes it.
# Other folders: --cfg-options data_root=DIR (every path below starts with it).
_base_ = "../pipelines/detection.py"
custom_imports = dict(imports=["detdiffusion.datasets.checked_coco"])
data_root = "data/miniscenes/"

metainfo = dict(
    classes=("ball", "crate", "tent", "star", "ring", "pine tree", "kite", "street sign"),
)
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="detdiffusion.CheckedCocoDataset",
        data_root=data_root,
        ann_file="detector/instances.json",
        data_prefix=dict(img="detector/images/"),
        metainfo=metainfo,
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=_base_.train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="detdiffusion.CheckedCocoDataset",
        data_root=data_root,
        ann_file="val/instances.json",
        data_prefix=dict(img="val/images/"),
        metainfo=metainfo,
        test_mode=True,
        pipeline=_base_.test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(
    type="CocoMetric", ann_file=data_root + "val/instances.json", metric="bbox", classwise=True
)
test_evaluator = val_evaluator
