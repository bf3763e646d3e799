# Faster R-CNN on the real training images of MiniScenes and further real images, 1 : 1 a batch, with objects of others
# pasted in.
_base_ = [
    "../_base_/models/faster-rcnn_small.py",
    "../_base_/datasets/miniscenes_detection_copy-paste-more.py",
    "../_base_/schedules/miniscenes_detection.py",
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=8)))
