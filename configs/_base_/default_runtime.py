"""Settings shared by all configs of generators and autoencoders: scope, hooks, logging."""

default_scope = "detdiffusion"
custom_imports = dict(
    imports=["detdiffusion.models", "detdiffusion.datasets", "detdiffusion.engine"],
    allow_failed_imports=False,
)
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", interval=500, by_epoch=False, max_keep_ckpts=2),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    latent_cache=dict(type="LatentCacheHook"),  # used by generators with cache_latents
    prompts=dict(type="PromptReportHook"),
)
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="fork"), dist_cfg=dict(backend="nccl"))
vis_backends = [dict(type="LocalVisBackend")]
visualizer = dict(type="Visualizer", vis_backends=vis_backends)
log_processor = dict(by_epoch=False)
log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=0, diff_rank_seed=True)  # different noise, timesteps and flips on each rank
exif_orientation = None  # images with an EXIF orientation: 'apply' or 'ignore' it; None raises an error
huge_images = False  # True allows images of more than 179 megapixels
