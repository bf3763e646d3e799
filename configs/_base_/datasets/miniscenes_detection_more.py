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
                _base_.train_dataloader.dataset,
                ann_file=f"{split}/instances.json",
                data_prefix=dict(img=f"{split}/images/"),
            )
            for split in ("train", "more")
        ],
    ),
)
