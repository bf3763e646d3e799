"""GLIGEN as a baseline on COCO-Thing-Stuff layouts, from a local diffusers folder.

    python tools/generate.py configs/baselines/gligen_coco.py none --split val --strategy origin \
        --out work_dirs/fidelity/gligen --cfg-options gligen_folder=models/gligen data_root=data/coco
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/datasets/coco_layout.py"]

gligen_folder = "./models/gligen-1-4-generation-text-box"
model = dict(
    type="GLIGENEditor",
    folder=gligen_folder,
    scheduler=dict(
        type="DPMSolverMultistepScheduler"
    ),  # as for DetDiffusion: 50 steps; GLIGEN's default guidance scale is 7.5
    grounding_steps=1.0,
    caption="An image with {objects}",
)
