"""detdiffusion_coco.py on Stable Diffusion XL at 1024 x 1024, with LoRA (requires pip install peft).

    bash tools/dist_train.sh configs/detdiffusion_sdxl_coco.py 8 \
        --cfg-options sd_folder=/models/stable-diffusion-xl-base-1.0 data_root=/data/coco

UNet and both text encoders are frozen; low-rank updates, the embeddings of the layout's tokens in both encoders and the
mask head train. Every image is conditioned on its size in the data set, and is trained at the one of `image_sizes` that
is nearest in aspect ratio, as SDXL was; tools/generate.py does the same. For smaller images, which take less memory and
which SDXL draws less well: --cfg-options image_size=(768,768), or (512,512). One size: image_sizes="[(1024,1024)]".

Memory a GPU: 17.2 GB (computed, not measured; activations excluded): 15.1 GB of weights in float32, the frozen ones
too, and 12 bytes of gradient and AdamW moments for each of 173 million trained parameters.
"""

_base_ = [
    "_base_/default_runtime.py",
    "_base_/datasets/coco_layout.py",
    "_base_/models/detdiffusion_sdxl.py",
    "_base_/schedules/generator_coco.py",
]

image_size = (1024, 1024)  # height, width; training uses its area only
image_sizes = [  # about that area, sides divisible by 64
    tuple(round((image_size[0] * image_size[1] * share) ** 0.5 / 64) * 64 for share in (1 / ratio, ratio))
    for ratio in (1, 4 / 3, 3 / 4, 3 / 2, 2 / 3, 16 / 9, 9 / 16)
]
image_sizes = list(dict.fromkeys(image_sizes))  # small areas have fewer
train_pipeline = [
    dict(step, size=image_sizes) if step.type == "LoadLayoutImage" else step for step in _base_.train_pipeline
]
train_dataloader = dict(
    batch_size=1,
    drop_last=False,
    batch_sampler=dict(type="SameSizeBatchSampler", drop_last=True),
    dataset=dict(pipeline=train_pipeline),
)
model = dict(unet=dict(sample_size=[image_size[0] // 8, image_size[1] // 8]))
optim_wrapper = dict(accumulative_counts=4)
default_hooks = dict(checkpoint=dict(interval=5, by_epoch=True))
log_processor = dict(by_epoch=True)
randomness = dict(diff_rank_seed=True)  # different noise and timesteps on each rank
