"""Fréchet distance, KID, precision and recall on Faster R-CNN's backbone features, for images that Inception says
little about. For tools/evaluate_fidelity.py --fid; put your own detector's files in."""

fid = dict(
    protocol=dict(
        name="faster-rcnn", images_per_layout=1, size=(256, 256), resample="bicubic", kernel_metrics=True
    ),
    extractor=dict(
        type="DetectorExtractor",
        config="mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
        checkpoint="models/faster_rcnn_r50_fpn_1x_coco.pth",
    ),
)
