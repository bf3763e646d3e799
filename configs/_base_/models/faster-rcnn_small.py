# Faster R-CNN with a narrow ResNet-18 and FPN, trained from scratch in minutes on a CPU. Configs must set num_classes.
_base_ = "mmdet::_base_/models/faster-rcnn_r50_fpn.py"
channels = 48

model = dict(
    backbone=dict(depth=18, base_channels=24, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[24, 48, 96, 192], out_channels=channels, num_outs=4),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[4], ratios=[0.6, 1.0, 1.6], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(output_size=5, sampling_ratio=2),
            out_channels=channels,
            featmap_strides=[4, 8, 16],
            finest_scale=28,
        ),
        bbox_head=dict(in_channels=channels, fc_out_channels=128, roi_feat_size=5, num_classes=80),
    ),
    train_cfg=dict(
        rpn=dict(assigner=dict(type="detdiffusion.MaxIoUAssigner", ignore_iof_thr=0.5), sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=50),
        rcnn=dict(
            assigner=dict(type="detdiffusion.MaxIoUAssigner", ignore_iof_thr=0.5), sampler=dict(num=32)
        ),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=50), rcnn=dict(max_per_img=50)),
)
