# ATSS trained on the photographs of `val`, to find the hard objects of `train`, which it was not trained on.
_base_ = "atss_bccd.py"

train_ann = _base_.data_root + "annotations/val.json"
