# Faster R-CNN on the real training images of MiniScenes and generated images of the same layouts; one arm a set:
# --cfg-options synthetic_root=work_dirs/synthetic/easy --work-dir work_dirs/faster-rcnn_easy
_base_ = "./faster-rcnn_real_miniscenes.py"
custom_imports = dict(imports=["detdiffusion.datasets.checked_coco", "detdiffusion.datasets.synthetic_coco"])
synthetic_root = "work_dirs/synthetic/hard"  # tools/generate.py --out
synthetic_ann = "annotations.json"  # or those of tools/quality_gate.py

train_dataloader = dict(
    dataset=dict(
        type="detdiffusion.SyntheticAugmentedCocoDataset",
        synthetic=[dict(data_root=synthetic_root, ann_file=synthetic_ann)],
    )
)
