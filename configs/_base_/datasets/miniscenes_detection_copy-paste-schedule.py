# The training images of MiniScenes with objects of other training images pasted in, and generated images as they are,
# whose share falls over the training.
_base_ = "./miniscenes_detection_copy-paste-halves.py"
custom_imports = dict(imports=[*_base_.custom_imports.imports, "detdiffusion.datasets.share_schedule"])
first_share = 1.0  # share of generated images before iteration fall_begin
last_share = 0.0  # and from iteration fall_end on
fall_begin = 0
fall_end = 600  # the last iteration of the schedule

train_dataloader = dict(
    sampler=dict(
        _delete_=True,
        type="detdiffusion.ScheduledShareSampler",
        batch_size=_base_.train_dataloader.batch_size,
        start_share=first_share,
        end_share=last_share,
        begin=fall_begin,
        end=fall_end,
    )
)
