# FCOS R50-FPN on COCO 2017 and generated images of its layouts, 6 epochs; one arm a set:
# --cfg-options synthetic_root=work_dirs/synthetic_coco/easy --work-dir work_dirs/fcos_r50_fpn_easy
_base_ = "./fcos_r50_fpn_real_coco.py"
custom_imports = dict(imports=["detdiffusion.datasets.checked_coco", "detdiffusion.datasets.synthetic_coco"])
synthetic_root = "work_dirs/synthetic_coco/hard"  # tools/generate.py --out
synthetic_ann = "annotations.json"  # or those of tools/quality_gate.py

train_dataloader = dict(
    dataset=dict(
        type="detdiffusion.SyntheticAugmentedCocoDataset",
        synthetic=[dict(data_root=synthetic_root, ann_file=synthetic_ann)],
    )
)
