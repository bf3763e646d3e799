# FCOS on the real training images of MiniScenes alone; as many iterations as with synthetic images.
_base_ = "../detectors/fcos_miniscenes.py"

train_dataloader = dict(dataset=dict(ann_file="train/instances.json", data_prefix=dict(img="train/images/")))
