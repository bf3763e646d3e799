"""DetDiffusion on a small COCO-format set of your own: one GPU, 4 images a step, 2,000 steps.

Layout of `data_root`: images/, instances.json and attributes.json (from tools/extract_attributes.py); other names:

    python tools/train.py configs/detdiffusion_small_coco.py --cfg-options sd_folder=/models/stable-diffusion-v1-5 \
        ann_file=my/labels.json img_dir=my/photos attributes_file=my/attributes.json

Masks are taken where the json has segmentations; else the boxes serve as masks.

Memory: 17.0 GB (computed, not measured; activations excluded), as detdiffusion_coco.py; for a smaller GPU add
--cfg-options model.lora.r=16 model.gradient_checkpointing=True, which leaves 5.5 GB.
"""

_base_ = [
    "_base_/default_runtime.py",
    "_base_/pipelines/perception_layout.py",
    "_base_/models/detdiffusion_sd15.py",
    "_base_/schedules/generator_coco.py",
]

data_root = "data/my_coco"
ann_file = data_root + "/instances.json"
img_dir = data_root + "/images"
attributes_file = data_root + "/attributes.json"
train_pipeline = [
    dict(step, attributes_file=attributes_file) if step.type == "LoadPerceptionAttributes" else step
    for step in _base_.train_pipeline
]
# a small set keeps every image with 1 to 14 objects, as many as a prompt holds
filter_cfg = dict(min_area_ratio=0.02, min_objects=1, max_objects=14)
layout_datasets = dict(
    train=dict(type="LayoutCocoDataset", ann_files=[ann_file], img_dir=img_dir, filter_cfg=filter_cfg)
)
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="SeededInfiniteSampler", shuffle=True),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="LayoutCocoDataset",
        ann_files=[ann_file],
        img_dir=img_dir,
        filter_cfg=filter_cfg,
        pipeline=train_pipeline,
    ),
)
max_iters = 2000
train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(lr=5e-5))
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=100),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=100, end=max_iters, eta_min=0.0),
]
auto_scale_lr = dict(base_batch_size=4)
randomness = dict(diff_rank_seed=True)  # every rank draws its own noise and time steps
