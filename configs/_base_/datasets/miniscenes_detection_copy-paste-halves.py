# The training images of MiniScenes with objects of other training images pasted in, and generated images as they are,
# half of every batch each.
_base_ = "./miniscenes_detection_copy-paste.py"
custom_imports = dict(
    imports=[
        "detdiffusion.datasets.checked_coco",
        "detdiffusion.datasets.synthetic_coco",
        "detdiffusion.datasets.transforms.copy_paste",
    ]
)
synthetic_root = "work_dirs/synthetic/edited"  # tools/generate.py --out
synthetic_ann = "annotations.json"  # or those of tools/quality_gate.py

train_dataloader = dict(
    sampler=dict(
        _delete_=True,
        type="MultiSourceSampler",
        batch_size=_base_.train_dataloader.batch_size,
        source_ratio=[1, 1],
    ),
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[
            _base_.train_dataloader.dataset,
            dict(
                type="detdiffusion.SyntheticAugmentedCocoDataset",
                mode="only_synthetic",
                synthetic=[dict(data_root=synthetic_root, ann_file=synthetic_ann)],
                metainfo=_base_.metainfo,
                filter_cfg=dict(filter_empty_gt=True),
                pipeline=_base_.train_pipeline,
            ),
        ],
    ),
)
