"""Any Ultralytics YOLOv8 to v11 detector after `yolo export format=onnx`; its class names, one a line, from a file:

--cfg-options onnx_detector.classes=names.txt onnx_detector.input.size=(640,640)
"""

_base_ = "../_base_/datasets/coco_classes.py"

onnx_detector = dict(
    input=dict(
        size=(640, 640),
        resize="letterbox",
        anchor="centre",
        pad_value=114,
        channels="rgb",
        mean=(0.0, 0.0, 0.0),
        std=(255.0, 255.0, 255.0),
    ),
    output=dict(type="CentreSizeOutput", transposed=True),
    nms=dict(iou_threshold=0.7, score_thr=0.01, max_per_image=300),
    classes={{_base_.classes}},
)
