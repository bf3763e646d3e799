# The training images of MiniScenes and generated images, half of every batch each, with objects of training images
# pasted into both.
_base_ = "./miniscenes_detection_copy-paste-halves.py"
custom_imports = dict(imports=[*_base_.custom_imports.imports, "detdiffusion.datasets.pasted_dataset"])

_real = _base_.train_dataloader.dataset.datasets[0]
_generated = _base_.train_dataloader.dataset.datasets[1]
# generated objects have no masks and are covered by their boxes
_paste = dict(_real.pipeline[0], paste_by_box=True, from_last=True)
_generated.pipeline = _base_.train_pipeline[:-1]
train_dataloader = dict(
    dataset=dict(
        datasets=[
            _real,
            dict(
                type="detdiffusion.PastedDataset",
                dataset=dict(type="ConcatDataset", datasets=[_generated, _real.dataset]),
                pipeline=[_paste, *_real.pipeline[1:]],
            ),
        ]
    )
)
