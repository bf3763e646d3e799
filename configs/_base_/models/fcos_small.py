# FCOS with a narrow ResNet-18 and FPN, trained from scratch in minutes on a CPU. Configs must set num_classes.
channels = 48

model = dict(
    type="FCOS",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(type="ResNet", depth=18, base_channels=24, norm_cfg=dict(type="BN"), norm_eval=False),
    neck=dict(type="FPN", in_channels=[24, 48, 96, 192], out_channels=channels, start_level=1, num_outs=3),
    bbox_head=dict(
        type="detdiffusion.FCOSHead",
        num_classes=80,
        in_channels=channels,
        feat_channels=channels,
        stacked_convs=2,
        strides=[8, 16, 32],
        regress_ranges=((-1, 24), (24, 48), (48, 1e8)),
        norm_cfg=dict(type="GN", num_groups=8, requires_grad=True),
        norm_on_bbox=True,
        centerness_on_reg=True,
        center_sampling=True,
        conv_bias=True,
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type="GIoULoss", loss_weight=1.0),
        loss_centerness=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
    ),
    test_cfg=dict(
        nms_pre=200, min_bbox_size=0, score_thr=0.05, nms=dict(type="nms", iou_threshold=0.6), max_per_img=50
    ),
)
