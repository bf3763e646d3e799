# ATSS trained on real photographs and synthetic images of the same layouts, for the same number of iterations.
# For each synthetic set: --cfg-options synthetic_root=work_dirs/bccd/synthetic/easy --work-dir work_dirs/bccd/arms/easy
_base_ = "atss_bccd.py"
synthetic_root = "work_dirs/bccd/synthetic/hard"  # tools/generate.py --out
synthetic_ann = "annotations.json"  # or those of tools/quality_gate.py

train_dataloader = dict(
    dataset=dict(
        type="detdiffusion.SyntheticAugmentedCocoDataset",
        synthetic=[dict(data_root=synthetic_root, ann_file=synthetic_ann)],
    )
)
