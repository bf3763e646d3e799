"""DetDiffusion on BCCD without Stable Diffusion: a small UNet and text encoder from nothing, TAESD latents, 192 x 144.

Needs data/bccd (tools/dataset_converters/voc_to_coco.py), its attributes, TAESD as a diffusers folder and a tokenizer
of the class names; docs/own_data.md has the commands. tools/generate.py wants the size: --height 144 --width 192.
"""

_base_ = ["../_base_/default_runtime.py", "../_base_/schedules/generator_miniscenes.py"]

data_root = "data/bccd"
attributes_file = "work_dirs/bccd/attributes.json"
vae_folder = "work_dirs/bccd/taesd"
tokenizer_folder = "work_dirs/bccd/tokenizer"
image_size = (144, 192)  # height, width: the photographs' 3 : 4
max_length = 128  # tokens a prompt: 30 cells of 4 tokens each
model = dict(
    type="DetDiffusion",
    vae=dict(type="AutoencoderTiny", from_pretrained=vae_folder),
    tokenizer=dict(type="CLIPTokenizer", from_pretrained=tokenizer_folder),
    text_encoder=dict(
        type="CLIPTextModel",
        vocab_size=600,  # the tokenizer's; rows for location and attribute tokens are added
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=max_length,
        embedding_std=0.5,
    ),
    unet=dict(
        type="UNet2DConditionModel",
        sample_size=24,
        in_channels=4,
        out_channels=4,
        block_out_channels=[64, 96, 128],
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=128,
        norm_num_groups=16,
        down_block_types=["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        up_block_types=["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    ),
    scheduler=dict(
        type="DDPMScheduler",
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        prediction_type="epsilon",
        clip_sample=False,
        steps_offset=1,
    ),
    test_scheduler=dict(type="DPMSolverMultistepScheduler"),
    layout_tokenizer=dict(template="compact", bins=(36, 48), attributes=True, max_length=max_length),
    noise_loss=dict(type="NoiseLoss", foreground=True, snr_gamma=5.0),
    mask_head=dict(type="MaskHead", hidden=64, num_queries=40, num_heads=4, ffn=128, num_layers=3),
    perception_loss=dict(type="PerceptionAwareLoss", loss_weight=0.01),
    grounding_loss=dict(type="AttentionGroundingLoss", loss_weight=0.05),
    cache_latents=True,
)
# every cell that the tiny images can show; platelets take a 200th of a photograph
filter_cfg = dict(min_area_ratio=0.001, min_objects=1, max_objects=30)
train_pipeline = [
    dict(type="LoadLayoutImage", size=image_size, cache=True),
    dict(type="LoadLayoutMasks"),
    dict(type="LoadPerceptionAttributes", attributes_file=attributes_file),
    dict(type="RandomFlipLayout", prob=0.5),
    dict(type="PackLayoutInputs"),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    drop_last=True,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    collate_fn=dict(type="pseudo_collate"),
    dataset=dict(
        type="LayoutCocoDataset",
        data_root=data_root,
        ann_files=["annotations/train.json"],
        img_dir="images",
        filter_cfg=filter_cfg,
        pipeline=train_pipeline,
    ),
)
layout_datasets = dict(
    train=dict(
        type="LayoutCocoDataset",
        data_root=data_root,
        ann_files=["annotations/train.json"],
        img_dir="images",
        filter_cfg=filter_cfg,
    )
)
max_iters = 3000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=100, end=max_iters, eta_min=1e-5),
]
