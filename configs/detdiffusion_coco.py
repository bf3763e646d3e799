"""DetDiffusion on COCO-Thing-Stuff at 256 x 256: the paper's main recipe (8 GPUs x 4 images).

    bash tools/dist_train.sh configs/detdiffusion_coco.py 8 \
        --cfg-options sd_folder=/models/stable-diffusion-v1-5 data_root=/data/coco

Memory a GPU: 17.0 GB (computed, not measured; activations excluded): 16 bytes of weight, gradient and AdamW moments
for each of 1.04 billion trained parameters in float32, and 0.33 GB for the frozen VAE.
"""

_base_ = [
    "_base_/default_runtime.py",
    "_base_/datasets/coco_layout.py",
    "_base_/models/detdiffusion_sd15.py",
    "_base_/schedules/generator_coco.py",
]
default_hooks = dict(checkpoint=dict(interval=5, by_epoch=True))
log_processor = dict(by_epoch=True)
randomness = dict(diff_rank_seed=True)  # different noise and timesteps on each rank
