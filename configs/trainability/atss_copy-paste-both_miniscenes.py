# ATSS on real and generated images of MiniScenes, half of every batch each, with real objects pasted into both:
# --cfg-options synthetic_root=work_dirs/synthetic/edited
_base_ = [
    "../_base_/models/atss_small.py",
    "../_base_/datasets/miniscenes_detection_copy-paste-both.py",
    "../_base_/schedules/miniscenes_detection.py",
]
model = dict(bbox_head=dict(num_classes=8))
