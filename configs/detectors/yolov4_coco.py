# YOLOv4 as in darknet on COCO, the detector of the YOLO score: images stretched to 608 x 608, threshold 0.25, NMS
# 0.45. Convert darknet's yolov4.weights with:
#   python tools/model_converters/darknet_to_mmdet.py configs/detectors/yolov4_coco.py yolov4.weights yolov4.pth
# Another network file: --cfg-options model.cfg=FILE.cfg (or yolov4-tiny, with image_scale 416).
# To measure COCO AP as reported for detectors: --cfg-options model.test_cfg.score_thr=0.001
custom_imports = dict(imports=["detdiffusion.datasets.checked_coco"])
default_scope = "mmdet"
data_root = "data/coco/"
image_scale = (608, 608)

model = dict(
    type="detdiffusion.YOLOv4",
    cfg="yolov4",
    test_cfg=dict(score_thr=0.25, nms=dict(type="nms", iou_threshold=0.45), max_per_img=-1),
)
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=image_scale, keep_ratio=False),
    # for darknet's letterbox instead of stretching:
    # dict(type="detdiffusion.DarknetLetterbox", scale=image_scale),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "letterbox"),
    ),
]
test_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="detdiffusion.CheckedCocoDataset",
        data_root=data_root,
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_evaluator = dict(
    type="CocoMetric", ann_file=data_root + "annotations/instances_val2017.json", metric="bbox"
)
test_cfg = dict(type="TestLoop")
val_dataloader = test_dataloader
val_evaluator = test_evaluator
val_cfg = dict(type="ValLoop")
default_hooks = dict(timer=dict(type="IterTimerHook"), logger=dict(type="LoggerHook", interval=50))
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_level = "INFO"
load_from = None
resume = False
