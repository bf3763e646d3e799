"""YOLOX-nano on COCO as its project exports it (github.com/Megvii-BaseDetection/YOLOX, yolox_nano.onnx).

python tools/extract_attributes.py --detector configs/onnx/yolox_nano_coco.py yolox_nano.onnx --ann ANN.json \\
    --img-dir DIR --out FILE
"""

_base_ = "../_base_/datasets/coco_classes.py"

onnx_detector = dict(
    input=dict(
        size=(416, 416),
        resize="letterbox",
        anchor="top-left",
        pad_value=114,
        channels="bgr",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    ),
    output=dict(type="YOLOXOutput", strides=(8, 16, 32)),
    nms=dict(iou_threshold=0.65, score_thr=0.01, max_per_image=100),
    classes={{_base_.classes}},
)
