# The training images of MiniScenes and generated images, half of every batch each, with objects of training images
# pasted into both.
_base_ = "./miniscenes_detection_copy-paste-halves.py"
custom_imports = dict(imports=[*_base_.custom_imports.imports, "detdiffusion.datasets.pasted_dataset"])

real, generated = _base_.train_dataloader.dataset.datasets
train_dataloader = dict(
    dataset=dict(
        datasets=[
            real,
            dict(
                type="detdiffusion.PastedDataset",
                dataset=dict(
                    type="ConcatDataset",
                    datasets=[dict(generated, pipeline=_base_.train_pipeline[:-1]), real.dataset],
                ),
                pipeline=[
                    # generated objects have no masks and are covered by their boxes
                    dict(real.pipeline[0], paste_by_box=True, from_last=True),
                    *real.pipeline[1:],
                ],
            ),
        ]
    )
)
