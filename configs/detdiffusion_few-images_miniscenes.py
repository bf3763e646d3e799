"""DetDiffusion on few images of MiniScenes: objects of other images pasted in, parts of images enlarged, and the
checkpoint kept whose images of held-out layouts have the highest AP (best_generation_bbox_mAP_iter_N.pth).

    python tools/train.py configs/detdiffusion_few-images_miniscenes.py --cfg-options data_root=data/miniscenes \
        attributes_file=ATTRIBUTES_TRAIN.json val_attributes_file=ATTRIBUTES_VAL.json detector_checkpoint=DETECTOR.pth
"""

_base_ = ["detdiffusion_validated_miniscenes.py"]

train_pipeline = [
    *_base_.train_pipeline[:3],  # image, masks, attributes
    dict(type="CopyPasteLayout", prob=0.5, max_objects=3),
    dict(type="RandomResizedCropLayout", scale=(0.5, 1.0), prob=0.5),
    *_base_.train_pipeline[3:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(cache_latents=False)  # every step encodes new images
