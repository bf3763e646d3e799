"""DetDiffusion on COCO with weights, gradients and optimizer state sharded over the GPUs (FSDP).

    bash tools/dist_train.sh configs/detdiffusion_fsdp_coco.py 8 \
        --cfg-options sd_folder=/models/stable-diffusion-v1-5 data_root=/data/coco

The 17 GB a GPU of weights, gradients and AdamW moments become 17 / number of GPUs, and one block's gathered weights
(calculated; not yet measured on a GPU). Checkpoints hold the whole model, as without sharding. No EMA.
"""

_base_ = "detdiffusion_coco.py"

runner_type = "detdiffusion.ShardedRunner"
strategy = dict(
    type="FSDPStrategy",
    model_wrapper=dict(
        type="MMFullyShardedDataParallel",
        use_orig_params=True,
        sync_module_states=True,  # the mask head starts at random, on every rank from another seed
        auto_wrap_policy=dict(
            type="detdiffusion.engine.sharded.wrap_by_name",
            names=[
                "CrossAttnDownBlock2D",
                "DownBlock2D",
                "UNetMidBlock2DCrossAttn",
                "UpBlock2D",
                "CrossAttnUpBlock2D",
                "CLIPEncoderLayer",
            ],
        ),
    ),
    state_dict_cfg="full",
)
optim_wrapper = dict(type="ShardedOptimWrapper")
