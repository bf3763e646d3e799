"""ControlNet as a baseline, conditioned on a picture of the layout; base and ControlNet from local diffusers folders.

The ControlNet must be trained on such pictures (detdiffusion.models.editors.baselines.draw_layout).

    python tools/generate.py configs/baselines/controlnet_coco.py none --split val --strategy origin \
        --out work_dirs/fidelity/controlnet --cfg-options controlnet_folder=models/controlnet-layout
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/datasets/coco_layout.py"]

sd_folder = "./models/stable-diffusion-v1-5"
controlnet_folder = "./models/controlnet-layout"
model = dict(
    type="ControlNetEditor",
    folder=sd_folder,
    controlnet=controlnet_folder,
    scheduler=dict(type="DPMSolverMultistepScheduler"),
    conditioning_scale=1.0,
    caption="An image with {objects}",
)
