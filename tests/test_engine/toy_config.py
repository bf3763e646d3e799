"""The toy run: 4 steps, a checkpoint every 2."""

default_scope = "detdiffusion"
experiment_name = "toy_" + __import__("uuid").uuid4().hex  # runs of one process share nothing
custom_imports = dict(imports=["toy"])
model = dict(type="ToyModel")
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=False),
    dataset=dict(type="ToyData"),
    collate_fn=dict(type="pseudo_collate"),
)
train_cfg = dict(type="IterBasedTrainLoop", max_iters=4)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1, momentum=0.9))
param_scheduler = [dict(type="CosineAnnealingLR", T_max=4, by_epoch=False)]
default_hooks = dict(
    checkpoint=dict(type="CheckpointHook", interval=2, by_epoch=False),
    logger=dict(type="LoggerHook", interval=1),
)
custom_hooks = [dict(type="SaveRankWeights")]
randomness = dict(seed=0)
auto_scale_lr = dict(base_batch_size=4)
