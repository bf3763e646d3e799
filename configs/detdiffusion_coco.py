"""DetDiffusion on COCO-Thing-Stuff at 256 x 256: the paper's main recipe (8 GPUs x 4 images).

    bash tools/dist_train.sh configs/detdiffusion_coco.py 8 \
        --cfg-options sd_folder=/models/stable-diffusion-v1-5 data_root=/data/coco

Memory a GPU: 17 GB for the weights, gradients and AdamW moments of 1.04 billion trained parameters in float32
(calculated, 16 bytes each), the activations of 4 images on top; not yet measured on a GPU.
"""

_base_ = [
    "_base_/default_runtime.py",
    "_base_/datasets/coco_layout.py",
    "_base_/models/detdiffusion_sd15.py",
    "_base_/schedules/generator_coco.py",
]
default_hooks = dict(checkpoint=dict(interval=5, by_epoch=True))
log_processor = dict(by_epoch=True)
randomness = dict(diff_rank_seed=True)  # every rank draws its own noise and time steps
