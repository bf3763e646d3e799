"""The configs of a run, written into ``OUT/configs``: short files that inherit the shipped ones, to be edited."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from textwrap import dedent

from detdiffusion.experiments.common_steps import Split
from detdiffusion.utils.files import write_atomic

from .budget import Schedule
from .plan import Plan
from .settings import LEARNERS

RECORD = ".written.json"
LEAST_QUERIES, LEAST_QUERIES_SD = 40, 100
"""Queries of the mask head, those of the shipped configs; more where prompts hold more objects."""
WRITTEN = "Written by tools/augment.py from the labels; edit it, and run the same command again."
_HEAD_OF_LEARNER = {
    "atss": "bbox_head=dict(num_classes={n})",
    "fcos": "bbox_head=dict(num_classes={n})",
    "faster-rcnn": "roi_head=dict(bbox_head=dict(num_classes={n}))",
}
_ONE_STAGE = "test_cfg=dict(nms_pre={pre}, max_per_img={most})"
_ROOM_OF_LEARNER = {
    "atss": _ONE_STAGE,
    "fcos": _ONE_STAGE,
    "faster-rcnn": "train_cfg=dict(rpn_proposal=dict(nms_pre={pre}, max_per_img={most})), "
    "test_cfg=dict(rpn=dict(nms_pre={pre}, max_per_img={most}), rcnn=dict(max_per_img={most}))",
}
_ASSIGNERS = ("ATSSAssigner", "MaxIoUAssigner")
IGNORING = {name: dict(type=f"detdiffusion.{name}", ignore_iof_thr=0.5) for name in _ASSIGNERS}
IGNORING["FCOSHead"] = dict(type="detdiffusion.FCOSHead")
"""What makes parts of mmdet ignore regions of any size, by type."""
LEAST_DETECTIONS = 50
"""Detections in an image, those of the shipped detectors; twice the objects of the fullest image where that is more."""


class ConfigFolder:
    """A folder of configs that are written again when a derived value changes, unless the user edited them.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.edited: set[str] = set()
        """Names of the files that the user edited."""

    def write(self, texts: Mapping[str, str]) -> None:
        """Write configs by file name; edited ones stay as they are, which is said once."""
        written = self._record()
        present = {name: self._text(name) for name in texts}
        edited = {
            name
            for name, text in present.items()
            if text is not None and _digest(text) not in written.get(name, ())
        }
        for name in sorted(edited - self.edited):
            path = self.folder / name
            print(f"{path}: has been edited and stays as it is (remove it to have it written again)")
        self.edited = self.edited - present.keys() | edited
        new = {name: text for name, text in texts.items() if name not in edited and text != present[name]}
        # recorded first, beside what is there: a run may be killed between two files
        self._store(written | {name: [*written.get(name, ()), _digest(text)] for name, text in new.items()})
        for name, text in new.items():
            write_atomic(self.folder / name, text.encode())
        self._store(written | {name: [_digest(text)] for name, text in new.items()})

    def _store(self, written: Mapping[str, list[str]]) -> None:
        write_atomic(self.folder / RECORD, json.dumps(written, indent=1).encode() + b"\n")

    def _text(self, name: str) -> str | None:
        path = self.folder / name
        return path.read_text() if path.is_file() else None

    def _record(self) -> dict[str, list[str]]:
        """Return the digests of what each file may hold, by name: one, or two where a write was interrupted."""
        path = self.folder / RECORD
        found = json.loads(path.read_text()) if path.is_file() else {}
        return {name: [one] if isinstance(one, str) else one for name, one in found.items()}


def literal(value: object) -> str:
    """Return a value as Python source, with double quotes where it has none."""
    text = repr(value)
    return text if '"' in text else text.replace("'", '"')


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def generator_config(
    plan: Plan,
    schedule: Schedule,
    splits: Mapping[str, Split],
    attributes: Path,
    parts: Mapping[str, object],
    folder: Path,
) -> str:
    """Return the generator's config.

    Args:
        plan, schedule: derived sizes.
        splits: the splits.
        attributes: attributes file of ``train``.
        parts: for a generator from nothing ``vae_folder``, ``vae_type``, ``scaling_factor``, ``tokenizer_folder`` and
            ``vocab_size``; else ``sd_folder``.
        folder: folder of the run; cached latents are in it.
    """
    model = "detdiffusion_scratch" if plan.from_nothing else "detdiffusion_sd15"
    lines = [
        f'"""The generator. {WRITTEN}"""',
        "",
        "_base_ = [",
        '    "detdiffusion::_base_/datasets/own_layout.py",',
        f'    "detdiffusion::_base_/models/{model}.py",',
        '    "detdiffusion::_base_/schedules/generator_scratch.py",',
        "]",
        "",
        *_paths(splits),
        f"attributes_file = {literal(str(attributes))}",
        f"classes = {literal(list(plan.classes))}",
        "",
        f"image_size = {plan.image_size}  # height, width: the shape of the photographs, in multiples of the UNet's",
        f"# {plan.kept} of {plan.total} objects are prompted; the others are too small, or in too full images",
        f"filter_cfg = dict(min_area_ratio={plan.min_area}, min_objects=1, max_objects={plan.most_objects})",
        f"flip_prob = {plan.flip_prob}",
        f"flip_directions = {literal(list(plan.flip_directions))}",
        f"batch_size = {plan.batch}",
        "",
        f"max_iters = {schedule.generator_iters}",
        f"warm_up = {max(2, schedule.generator_iters // 15)}",
        "",
        *(f"{name} = {literal(value)}" for name, value in parts.items()),
    ]
    if plan.from_nothing:
        lines += [
            f'max_length = {plan.max_length}  # tokens per prompt, with room for layout_condition="tokens"',
            f"latent_size = {plan.latent_size}",
            f"bins = {plan.bins}  # rows, columns of the grid of location tokens: one per 4 px",
            "model = dict(",
            '    layout_condition="blueprint",  # boxes as channels of the input; "tokens" as in the paper',
            f"    mask_head=dict(num_queries={max(LEAST_QUERIES, plan.most_objects)}),  # one for each object",
            f"    cache_latents={literal(str(folder / 'latents'))},",
            ")",
        ]
    else:
        lines += [
            dedent(
                f"""\
                model = dict(
                    unet=dict(sample_size={list(plan.latent_size)}),
                    layout_tokenizer=dict(bins={plan.bins}, overflow="chunk"),
                    mask_head=dict(num_queries={max(LEAST_QUERIES_SD, plan.most_objects)}),
                    cache_latents={literal(str(folder / "latents"))},
                    # lora=dict(r=16), gradient_checkpointing=True,  # for a GPU with less than 20 GB
                )
                optim_wrapper = dict(optimizer=dict(lr=5e-5, betas=(0.9, 0.999)))
                custom_hooks = []  # no EMA: it needs another 4 GB"""
            )
        ]
    return "\n".join(lines) + "\n"


def detector_config(
    plan: Plan, schedule: Schedule, splits: Mapping[str, Split], learner: str, test: str
) -> str:
    """Return the config of the learner on real images.

    Args:
        plan, schedule: derived sizes.
        splits: the splits.
        learner: a name in :data:`.settings.LEARNERS` or an mmdet config.
        test: the split that it is tested on at the end.
    """
    iters = schedule.detector_iters
    warm_up = max(1, min(50, iters // 10))
    head = [f"# {learner} on the real images of train. {WRITTEN}"]
    data = [
        *_paths({"train": splits["train"], "test": splits[test]}, "/"),
        f"metainfo = dict(classes={literal(plan.classes)})",
        f"batch_size = {plan.batch}",
        f"max_iters = {iters}  # the same in every arm",
    ]
    schedule_lines = [
        "default_hooks = dict(",
        f"    logger=dict(interval={max(1, min(50, iters // 4))}, log_metric_by_epoch=False),",
        "    checkpoint=dict(by_epoch=False),",
        ")",
        "param_scheduler = [",
        f'    dict(type="LinearLR", start_factor=0.04, by_epoch=False, begin=0, end={warm_up}),',
        f'    dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin={warm_up}, end=max_iters),',
        "]",
        "",
    ]
    body = _small_learner if learner in LEARNERS else _foreign_learner
    return "\n".join([*head, *body(plan, learner, data), *schedule_lines])


def _small_learner(plan: Plan, learner: str, data: list[str]) -> list[str]:
    width, height = plan.detector_scale
    model, most = _HEAD_OF_LEARNER[learner].format(n=len(plan.classes)), 2 * plan.fullest
    if most > LEAST_DETECTIONS:
        model += ", " + _ROOM_OF_LEARNER[learner].format(pre=4 * most, most=most)
    return [
        "_base_ = [",
        f'    "detdiffusion::_base_/models/{learner}_small.py",',
        '    "detdiffusion::_base_/datasets/own_detection.py",',
        '    "detdiffusion::_base_/schedules/miniscenes_detection.py",',
        "]",
        *data,
        f"image_scale = ({width}, {height})  # width, height",
        f"flip_prob = {0.5 if plan.flip_prob else 0.0}",
        f"model = dict({model})",
        "train_cfg = dict(max_iters=max_iters, val_interval=max_iters)",
    ]


def _foreign_learner(plan: Plan, learner: str, data: list[str]) -> list[str]:
    """Return the middle of a config that inherits any mmdet config: this data, its classes, the budget's schedule."""
    from detdiffusion.utils.config import load_config

    model = load_config(learner).model.to_dict()
    return [
        f"_base_ = {learner if '::' in learner else str(Path(learner).resolve())!r}",
        *data,
        f"model = {_merged(model, partial(_for_learner, classes=len(plan.classes))) or {}}",
        'custom_imports = dict(imports=["detdiffusion.datasets.checked_coco", "detdiffusion.datasets.synthetic_coco"])',
        "train_dataloader = dict(",
        "    batch_size=batch_size,",
        '    sampler=dict(_delete_=True, type="InfiniteSampler", shuffle=True),',
        "    batch_sampler=None,",
        "    dataset=dict(",
        "        _delete_=True,",
        '        type="detdiffusion.CheckedCocoDataset",',
        "        ann_file=train_ann,",
        "        data_prefix=dict(img=train_images),",
        "        metainfo=metainfo,",
        "        filter_cfg=dict(filter_empty_gt=True),",
        "        pipeline=_base_.train_dataloader.dataset.pipeline,",
        "    ),",
        ")",
        "val_dataloader = dict(",
        "    dataset=dict(",
        "        _delete_=True,",
        '        type="detdiffusion.CheckedCocoDataset",',
        "        ann_file=test_ann,",
        "        data_prefix=dict(img=test_images),",
        "        metainfo=metainfo,",
        "        test_mode=True,",
        "        pipeline=_base_.test_dataloader.dataset.pipeline,",
        "    )",
        ")",
        "test_dataloader = val_dataloader",
        "val_evaluator = dict(",
        '    _delete_=True, type="CocoMetric", ann_file=test_ann, metric="bbox", classwise=True',
        ")",
        "test_evaluator = val_evaluator",
        'train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)',
        'log_processor = dict(type="LogProcessor", window_size=50, by_epoch=False)',
        "randomness = dict(seed=0)",
    ]


def _for_learner(part: Mapping, classes: int) -> dict:
    """Return what changes in a part of a model: its number of classes, and a type that ignores regions."""
    changes = {"num_classes": classes} if "num_classes" in part else {}
    return changes | IGNORING.get(str(part.get("type", "")).removeprefix("mmdet."), {})


def _merged(part: object, change: Callable[[Mapping], dict]) -> object:
    """Return what must be merged into a part of a model so that every dict in it has the changes of a function; None if
    there are none. Lists, which merging replaces, are returned whole."""
    if isinstance(part, dict):
        changes = change(part)
        inner = {key: _merged(value, change) for key, value in part.items() if key not in changes}
        return {**{key: value for key, value in inner.items() if value}, **changes} or None
    if isinstance(part, (list, tuple)) and any(_merged(inner, change) for inner in part):
        return [_changed(inner, change) for inner in part]
    return None


def _changed(part: object, change: Callable[[Mapping], dict]) -> object:
    """Return a copy of a part of a model in which every dict has the changes of a function."""
    if isinstance(part, dict):
        changes = change(part)
        return {key: _changed(value, change) for key, value in part.items() if key not in changes} | changes
    return [_changed(inner, change) for inner in part] if isinstance(part, (list, tuple)) else part


def _paths(splits: Mapping[str, Split], end: str = "") -> list[str]:
    lines = []
    for name, split in splits.items():
        lines += [
            f"{name}_ann = {literal(str(split.annotations[0]))}",
            f"{name}_images = {literal(str(split.images) + end)}",
        ]
    return lines
