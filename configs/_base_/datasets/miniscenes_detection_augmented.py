# The training images of MiniScenes with standard augmentation: random scale, crop and colours beside the flip.
_base_ = "./miniscenes_detection.py"

augmented_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type="RandomResize", scale=_base_.image_scale, ratio_range=(0.7, 1.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=_base_.image_scale[::-1]),
    dict(type="PhotoMetricDistortion"),
    *_base_.train_pipeline[3:],
]
train_dataloader = dict(
    dataset=dict(
        ann_file="train/instances.json", data_prefix=dict(img="train/images/"), pipeline=augmented_pipeline
    )
)
