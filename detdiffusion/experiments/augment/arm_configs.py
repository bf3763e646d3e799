"""The configs of the arms: that of the learner on real images, with other training data."""

from __future__ import annotations

from pathlib import Path

from detdiffusion.experiments.common_steps import GATED

from .arms import Arm
from .write_configs import WRITTEN, literal

_DATA = {
    "detector_mixed": "generated images at first, and more and more real ones",
    "detector_copy-paste": "real images with objects of others pasted in",
    "detector_mixed_copy-paste": "generated images at first, and more and more real ones with objects of others pasted "
    "in",
}
_PASTED = """
real = _base_.train_dataloader.dataset
pasted = dict(  # objects are cut out by their {shapes}
    type="MultiImageMixDataset",
    dataset=dict(
        real,
        pipeline=[
            dict(step, with_mask={masks}, poly2mask=True) if step.type == "LoadAnnotations" else step
            for step in real.pipeline[:-1]
        ],
    ),
    pipeline=[
        dict(
            type="detdiffusion.CopyPaste",
            max_num_pasted=6,
            bbox_occluded_thr=4,  # a covered object stays if its box moved by at most 4 px
            mask_occluded_thr=40,  # or if more than 40 px of it are visible
            paste_by_box={boxes},
        ),
        dict(type="FilterAnnotations", min_gt_bbox_wh=(1, 1), keep_empty=False),
        real.pipeline[-1],
    ],
)
"""
_SAMPLER = """
    sampler=dict(  # the share of generated images falls from all to none
        _delete_=True,
        type="detdiffusion.ScheduledShareSampler",
        batch_size=_base_.batch_size,
        begin=0,
        end=_base_.max_iters,
        start_share=1.0,
        end_share=0.0,
    ),
"""
_MIXED = f"""
train_dataloader = dict({_SAMPLER.rstrip()}
    dataset=dict(
        type="detdiffusion.SyntheticAugmentedCocoDataset",
        synthetic=[dict(data_root=synthetic_root, ann_file="{GATED}")],  # as the gate wrote them
    ),
)
"""
_MIXED_PASTED = f"""
train_dataloader = dict({_SAMPLER.rstrip()}
    dataset=dict(
        _delete_=True,
        type="ConcatDataset",
        datasets=[
            pasted,
            dict(
                type="detdiffusion.SyntheticAugmentedCocoDataset",
                mode="only_synthetic",
                synthetic=[dict(data_root=synthetic_root, ann_file="{GATED}")],  # as the gate wrote them
                metainfo=_base_.metainfo,
                filter_cfg=dict(filter_empty_gt=True),
                pipeline=real.pipeline,
            ),
        ],
    ),
)
"""


def arm_config(arm: Arm, folder: Path, masks: bool) -> str:
    """Return the config of an arm's learner: that of the real images with other training data.

    Args:
        arm: the arm.
        folder: parent folder of the synthetic sets; commands name that of each arm.
        masks: whether objects have masks, by which copy-paste cuts them out; else by their boxes.
    """
    head = [
        f"# The learner with other training data, for equally many iterations: {_DATA[arm.config]}. {WRITTEN}"
    ]
    imports = ["detdiffusion.datasets.share_schedule"] if arm.generated else []
    imports += ["detdiffusion.datasets.transforms.copy_paste"] if arm.copy_paste else []
    text = [
        *head,
        '_base_ = "detector.py"',
        "custom_imports = dict(",
        f"    imports=[*_base_.custom_imports.imports, {', '.join(map(literal, imports))}]",
        ")",
    ]
    if arm.generated:
        text += [f"synthetic_root = {literal(str(folder))}  # parent of the sets; commands name one"]
    if arm.copy_paste:
        shapes = "masks, or boxes where a label has none" if masks else "boxes"
        text += [_PASTED.strip().format(shapes=shapes, masks=masks, boxes=not masks)]
    if arm.generated:
        text += [_MIXED_PASTED.strip() if arm.copy_paste else _MIXED.strip()]
    else:
        text += ["train_dataloader = dict(dataset=dict(pasted, _delete_=True))"]
    return "\n".join(text) + "\n"
