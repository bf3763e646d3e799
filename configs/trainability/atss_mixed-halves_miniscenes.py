# ATSS on real and generated images of MiniScenes, half of every batch each, however many there are of either.
_base_ = "./atss_mixed_miniscenes.py"

train_dataloader = dict(
    sampler=dict(
        _delete_=True,
        type="MultiSourceSampler",
        batch_size=_base_.train_dataloader.batch_size,
        source_ratio=[1, 1],
    )
)
