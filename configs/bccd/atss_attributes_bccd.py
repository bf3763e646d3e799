# ATSS trained on the photographs of `val`, to find the hard objects of `train`, which it was not trained on.
_base_ = "atss_bccd.py"

train_dataloader = dict(dataset=dict(ann_file="annotations/val.json"))
