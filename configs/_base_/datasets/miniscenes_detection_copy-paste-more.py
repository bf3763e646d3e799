# The training images of MiniScenes and further real images (split `more`), half of every batch each, with objects of
# other images of the same split pasted in.
_base_ = "./miniscenes_detection_copy-paste.py"

pasted = _base_.train_dataloader.dataset
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
                pasted,
                dataset=dict(
                    pasted.dataset,
                    ann_file=f"{split}/instances.json",
                    data_prefix=dict(img=f"{split}/images/"),
                ),
            )
            for split in ("train", "more")
        ],
    ),
)
