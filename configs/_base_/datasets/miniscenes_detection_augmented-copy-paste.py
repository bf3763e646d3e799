# The training images of MiniScenes with standard augmentation: random scale, crop and colours beside the flip, and with
# objects of other images, augmented as well, pasted in.
_base_ = "./miniscenes_detection_copy-paste.py"

train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                *_base_.mask_pipeline[:2],
                dict(type="RandomResize", scale=_base_.image_scale, ratio_range=(0.7, 1.5), keep_ratio=True),
                dict(type="RandomCrop", crop_size=_base_.image_scale[::-1]),
                dict(type="PhotoMetricDistortion"),
                *_base_.mask_pipeline[3:],
            ]
        )
    )
)
