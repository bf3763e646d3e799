# ATSS on the training photographs and synthetic images of the same layouts, as many iterations as without them.
# One arm a set: --cfg-options synthetic_root=work_dirs/bccd/synthetic/easy --work-dir work_dirs/bccd/arms/easy
_base_ = "atss_bccd.py"
synthetic_root = "work_dirs/bccd/synthetic/hard"  # tools/generate.py --out

train_dataloader = dict(
    dataset=dict(
        type="detdiffusion.SyntheticAugmentedCocoDataset", synthetic=[dict(data_root=synthetic_root)]
    )
)
