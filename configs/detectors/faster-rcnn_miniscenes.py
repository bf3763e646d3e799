# Faster R-CNN, a narrow ResNet-18 and FPN, for MiniScenes.
# Measured: 0.690 AP on 300 val images after 500 iterations on 2,000 images; 193 CPU seconds with validation.
_base_ = [
    "../_base_/models/faster-rcnn_small.py",
    "../_base_/datasets/miniscenes_detection.py",
    "../_base_/schedules/miniscenes_detection.py",
]
model = dict(roi_head=dict(bbox_head=dict(num_classes=8)))
