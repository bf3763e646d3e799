# ATSS on the photographs of `val`: it says which objects of `train` are hard, and has seen none of them.
_base_ = "atss_bccd.py"

train_dataloader = dict(dataset=dict(ann_file="annotations/val.json"))
