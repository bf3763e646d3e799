# ATSS on real images of MiniScenes with objects of others pasted in, and generated images, whose share falls from all
# to none over the training: --cfg-options synthetic_root=work_dirs/synthetic/edited
_base_ = [
    "../_base_/models/atss_small.py",
    "../_base_/datasets/miniscenes_detection_copy-paste-schedule.py",
    "../_base_/schedules/miniscenes_detection.py",
]
model = dict(bbox_head=dict(num_classes=8))
fall_end = _base_.max_iters  # the iteration from which on no image is generated
