"""DetDiffusion on MiniScenes with validation: a detector's AP and a Fréchet distance every 200 iterations, the
checkpoint of the highest AP kept, and sheets of samples in vis_data/vis_image (and in TensorBoard, if it is installed
and listed in vis_backends).

    python tools/train.py configs/detdiffusion_validated_miniscenes.py --cfg-options data_root=data/miniscenes \
        attributes_file=ATTRIBUTES_TRAIN.json val_attributes_file=ATTRIBUTES_VAL.json detector_checkpoint=DETECTOR.pth
"""

_base_ = ["detdiffusion_miniscenes.py"]

data_root = "data/miniscenes"
image_size = (64, 64)
val_attributes_file = data_root + "/attributes_val.json"
detector_config = "detdiffusion::detectors/atss_miniscenes.py"
detector_checkpoint = "work_dirs/atss_miniscenes/iter_450.pth"

custom_imports = dict(
    imports=[
        "detdiffusion.models",
        "detdiffusion.datasets",
        "detdiffusion.engine",
        "detdiffusion.evaluation.generation_metrics",
    ],
    allow_failed_imports=False,
)
model = dict(test_cfg=dict(num_inference_steps=25, guidance_scale=3.5))
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="LayoutCocoDataset",
        data_root=data_root,
        ann_files=["val/instances.json", "val/stuff.json"],
        img_dir="val/images",
        pipeline=[
            dict(type="LoadLayoutImage", size=image_size),
            dict(type="LoadPerceptionAttributes", attributes_file=val_attributes_file),
            dict(type="PackLayoutInputs"),
        ],
    ),
)
val_evaluator = [
    dict(type="GenerationDetectionMetric", config=detector_config, checkpoint=detector_checkpoint),
    dict(
        type="GenerationFrechetMetric",
        extractor=dict(type="DetectorExtractor", config=detector_config, checkpoint=detector_checkpoint),
    ),
]
train_cfg = dict(val_interval=200)
val_cfg = dict(type="ValLoop")
default_hooks = dict(checkpoint=dict(save_best="generation/bbox_mAP", rule="greater"))
custom_hooks = [
    dict(type="EMAHook", ema_type="MomentumAnnealingEMA", momentum=0.01, gamma=10),
    dict(type="SampleGridHook", num_samples=8),
]
