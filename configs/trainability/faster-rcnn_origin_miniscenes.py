# Faster R-CNN on the real training images of MiniScenes and `origin` images of the same layouts.
_base_ = "../detectors/faster-rcnn_miniscenes.py"
custom_imports = dict(imports=["detdiffusion.datasets.checked_coco", "detdiffusion.datasets.synthetic_coco"])
synthetic_root = "work_dirs/synthetic/origin"  # tools/generate.py --out

train_dataloader = dict(
    dataset=dict(
        type="detdiffusion.SyntheticAugmentedCocoDataset",
        ann_file="train/instances.json",
        data_prefix=dict(img="train/images/"),
        synthetic=[dict(data_root=synthetic_root)],
    )
)
