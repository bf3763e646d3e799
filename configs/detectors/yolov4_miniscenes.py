# YOLOv4 with a quarter of its width and a third of its depth, for MiniScenes: a detector of another family than
# those of configs/trainability, for scoring generated images (for the YOLO score's threshold: --cfg-options
# model.test_cfg.score_thr=0.25).
# Measured: 0.470 AP on 400 val images after 400 iterations on 1,500 images, with mmdet's CIoULoss instead of
# torchvision's, which differs for overlaps below 0.5; 144 CPU seconds with validation.
_base_ = [
    "../_base_/datasets/miniscenes_detection.py",
    "../_base_/schedules/miniscenes_detection.py",
]
custom_imports = dict(imports=["detdiffusion.datasets.checked_coco"])

model = dict(
    type="detdiffusion.YOLOv4",
    cfg=dict(
        arch="yolov4",
        num_classes=8,
        width=0.25,
        depth=0.34,
        # by k-means on the boxes, in pixels of the enlarged images
        anchors=[(10, 10), (22, 22), (25, 29), (32, 27), (31, 37), (39, 32), (36, 36), (37, 44), (45, 39)],
        input_size=(96, 96),
    ),
    test_cfg=dict(score_thr=0.01, nms=dict(type="nms", iou_threshold=0.45), max_per_img=50),
)
