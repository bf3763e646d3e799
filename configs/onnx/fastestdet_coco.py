"""FastestDet on COCO (github.com/dog-qiuqiu/FastestDet, FastestDet.onnx): a weak detector, AP 16 on val2017."""

_base_ = "../_base_/datasets/coco_classes.py"

onnx_detector = dict(
    input=dict(
        size=(352, 352),
        resize="stretch",
        channels="bgr",
        mean=(0.0, 0.0, 0.0),
        std=(255.0, 255.0, 255.0),
    ),
    # (1, 1): a probability, so that a score threshold means what it means for other detectors. FastestDet's demo
    # takes (0.6, 0.4); equally good AP, but 0.3 is then a low threshold.
    output=dict(type="FastestDetOutput", objectness_power=1.0, class_power=1.0),
    nms=dict(iou_threshold=0.45, score_thr=0.01, max_per_image=100),
    classes={{_base_.classes}},
)
