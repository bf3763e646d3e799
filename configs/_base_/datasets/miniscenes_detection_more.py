# The training images of MiniScenes and further real images (split `more`), half of every batch each.
_base_ = "./miniscenes_detection.py"

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
            dict(
                type="detdiffusion.CheckedCocoDataset",
                data_root=_base_.data_root,
                ann_file="train/instances.json",
                data_prefix=dict(img="train/images/"),
                metainfo=_base_.metainfo,
                filter_cfg=dict(filter_empty_gt=True),
                pipeline=_base_.train_pipeline,
            ),
            dict(
                type="detdiffusion.CheckedCocoDataset",
                data_root=_base_.data_root,
                ann_file="more/instances.json",
                data_prefix=dict(img="more/images/"),
                metainfo=_base_.metainfo,
                filter_cfg=dict(filter_empty_gt=True),
                pipeline=_base_.train_pipeline,
            ),
        ],
    ),
)
