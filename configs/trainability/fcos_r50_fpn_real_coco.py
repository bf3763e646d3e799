# FCOS R50-FPN on COCO 2017, 6 epochs, 16 images a batch: the real-only arm.
# COCO elsewhere: --cfg-options data_root=DIR (annotations/, train2017/, val2017/ in it).
_base_ = "mmdet::fcos/fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco.py"
custom_imports = dict(imports=["detdiffusion.datasets.checked_coco"])
data_root = "data/coco/"

# Regions of unknown content, the crowds of real COCO and the objects that no prompt named, are nobody's negatives.
model = dict(bbox_head=dict(type="detdiffusion.FCOSHead"))

train_cfg = dict(max_epochs=6)
param_scheduler = [
    dict(type="ConstantLR", factor=1.0 / 3, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", begin=0, end=6, by_epoch=True, milestones=[4, 5], gamma=0.1),
]
train_dataloader = dict(dataset=dict(type="detdiffusion.CheckedCocoDataset"))
val_dataloader = dict(dataset=dict(type="detdiffusion.CheckedCocoDataset"))
test_dataloader = val_dataloader
val_evaluator = dict(classwise=True)  # tools/compare_trainability.py shows the rarest classes
