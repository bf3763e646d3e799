# ATSS on the real training images of MiniScenes with standard augmentation and objects of others pasted in.
_base_ = [
    "../_base_/models/atss_small.py",
    "../_base_/datasets/miniscenes_detection_augmented-copy-paste.py",
    "../_base_/schedules/miniscenes_detection.py",
]
model = dict(bbox_head=dict(num_classes=8))
