# FCOS, a narrow ResNet-18 and FPN, for MiniScenes.
# Measured: 0.610 AP on 300 val images after 600 iterations on 2,000 images; 136 CPU seconds with validation.
_base_ = [
    "../_base_/models/fcos_small.py",
    "../_base_/datasets/miniscenes_detection.py",
    "../_base_/schedules/miniscenes_detection.py",
]
model = dict(bbox_head=dict(num_classes=8))
