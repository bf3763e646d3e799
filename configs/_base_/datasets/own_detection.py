"""Any COCO set for the small detectors: trained on `train_ann`, tested on `test_ann`; all of it variables.

A config that inherits this file sets the variables alone, see configs/_base_/datasets/bccd_detection.py.
tools/augment.py derives them from the annotations.
"""

_base_ = "../pipelines/detection.py"
custom_imports = dict(imports=["detdiffusion.datasets.checked_coco", "detdiffusion.datasets.synthetic_coco"])
data_root = "data/mine/"
train_ann = data_root + "annotations/train.json"
test_ann = data_root + "annotations/test.json"
train_images = data_root + "images/"
test_images = data_root + "images/"
metainfo = dict(classes=("cat", "dog"))
image_scale = (320, 320)  # width, height
batch_size = 8
flip_prob = 0.5  # 0 for classes that a mirror image does not show, such as letters

changes = dict(Resize=dict(scale=image_scale), RandomFlip=dict(prob=flip_prob))
train_pipeline = [dict(step, **changes.get(step.type, {})) for step in _base_.train_pipeline]
test_pipeline = [
    dict(step, scale=image_scale) if step.type == "Resize" else step for step in _base_.test_pipeline
]
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="detdiffusion.CheckedCocoDataset",
        ann_file=train_ann,
        data_prefix=dict(img=train_images),
        metainfo=metainfo,
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=0,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="detdiffusion.CheckedCocoDataset",
        ann_file=test_ann,
        data_prefix=dict(img=test_images),
        metainfo=metainfo,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="CocoMetric", ann_file=test_ann, metric="bbox", classwise=True)
test_evaluator = val_evaluator
