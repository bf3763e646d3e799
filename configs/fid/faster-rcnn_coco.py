"""Fréchet distance, KID, precision and recall with backbone features of Faster R-CNN, for images unlike Inception's
training data. Use it with tools/evaluate_fidelity.py --fid, with config and checkpoint of your own detector."""

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
