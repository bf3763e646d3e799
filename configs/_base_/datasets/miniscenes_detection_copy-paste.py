# The training images of MiniScenes with objects of other training images pasted in, cut out by their masks.
_base_ = "./miniscenes_detection.py"
custom_imports = dict(
    imports=["detdiffusion.datasets.checked_coco", "detdiffusion.datasets.transforms.copy_paste"]
)

mask_pipeline = [
    _base_.train_pipeline[0],
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    *_base_.train_pipeline[2:-1],
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="MultiImageMixDataset",
        dataset=dict(
            type="detdiffusion.CheckedCocoDataset",
            data_root=_base_.data_root,
            ann_file="train/instances.json",
            data_prefix=dict(img="train/images/"),
            metainfo=_base_.metainfo,
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=mask_pipeline,
        ),
        pipeline=[
            # a covered object stays if its box moved by at most 4 px or 40 px of it are visible; mmdet's 10 and 300
            # are meant for images ten times as large
            dict(type="detdiffusion.CopyPaste", max_num_pasted=6, bbox_occluded_thr=4, mask_occluded_thr=40),
            dict(type="FilterAnnotations", min_gt_bbox_wh=(1, 1), keep_empty=False),
            _base_.train_pipeline[-1],
        ],
    )
)
