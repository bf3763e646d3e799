"""``tools/train.py`` and ``tools/test.py`` with a detector that records its input."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..case import Case, Run
from ..reading import average_precision, near, picture, read_coco, read_json
from ..verdict import Account, printed_counts
from .scores import FOUND, compare_ap, found_on
from .target import Target, damage_some
from .worlds import CLASSES, write_set

_IMPORTS = (
    "detdiffusion.engine.launch", "detdiffusion.datasets.checked_coco", "detdiffusion.models", "mmdet.engine",
    "mmdet.evaluation", "mmengine.runner", "fuzzing.recording_detector", "cv2",
)  # fmt: skip
_CONFIG = """
custom_imports = dict(imports=['detdiffusion.datasets.checked_coco', 'fuzzing.recording_detector'])
default_scope = 'mmdet'
model = dict(type='RecordingDetector', record={record!r}, found={found!r},
             data_preprocessor=dict(type='DetDataPreprocessor'))
dataset = dict(
    type='detdiffusion.CheckedCocoDataset', ann_file={ann!r}, data_prefix=dict(img={images!r}),
    metainfo=dict(classes={classes!r}), {filter}pipeline=[
        dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape'))])
loader = dict(batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dataset)
"""
_TRAIN = """
train_dataloader = loader
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=100))
del dataset, loader
"""
_TEST = """
test_dataloader = loader
test_evaluator = dict(type='CocoMetric', ann_file={ann!r}, metric='bbox')
test_cfg = dict(type='TestLoop')
del dataset, loader
"""


def _write_config(case: Case, rest: str, filter_cfg: str = "") -> str:
    values = dict(
        record=str(case.out / "record.jsonl"),
        found=[(list(CLASSES).index(c), x, y, x + w, y + h) for c, x, y, w, h in FOUND],
        ann=str(case.source / "instances.json"),
        images=str(case.source / "images") + "/",
        classes=tuple(CLASSES.values()),
        filter=filter_cfg,
    )
    case.out.mkdir(exist_ok=True)
    path = case.folder / "config.py"
    path.write_text((_CONFIG + rest).format(**values))
    return str(path)


class TrainDetector(Target):
    """One epoch over a data set; compares the boxes that the detector was trained on."""

    name, tool, imports = "train", "train.py", _IMPORTS

    def prepare(self, base: Path) -> None:
        write_set(base, 4)

    def damage(self, case: Case) -> None:
        damage_some(case, {"json": ["instances.json"] * 2, "image": ["images/*"]})

    def arguments(self, case: Case) -> list[str]:
        config = _write_config(case, _TRAIN, "filter_cfg=dict(filter_empty_gt=True), ")
        return [config, "--work-dir", str(case.out)]

    def judge(self, case: Case, run: Run) -> Account:
        account, source = Account(counted=_left_out(run.output)), read_coco(case.source / "instances.json")
        seen: dict = {}
        record = case.out / "record.jsonl"
        for line in record.read_text().splitlines() if record.is_file() else ():
            entry = json.loads(line)
            seen[entry["image"]] = [(label, box) for label, box in entry["objects"]]
        names = list(CLASSES.values())
        for image_id, image in source.images.items():
            held = source.objects_of(image_id)
            path = case.source / "images" / str(image.get("file_name"))
            if image_id not in seen:
                account.lose(f"image id {image_id}")
                continue
            if picture(path) is None:
                account.wrong.append(f"image id {image_id} is trained on, but {path.name} cannot be read")
            came = seen.pop(image_id)
            for one, box in held:
                match = next(
                    (
                        k
                        for k, (n, b) in enumerate(came)
                        if names[n] == source.names[one["category_id"]] and near(b, box)
                    ),
                    None,
                )
                if match is None:
                    account.lose(f"annotation id {one.get('id')}")
                else:
                    came.pop(match)
            if came:
                account.wrong.append(f"image id {image_id}: {came[0]} is not in the file")
        for k in range(len(source.entries) - len(source.boxes)):
            account.lose(f"unsound annotation {k}")
        if seen:
            account.wrong.append(f"images {list(seen)} are not in the file")
        return account


class TestDetector(Target):
    """AP of a detector with constant results."""

    __test__ = False  # not a pytest class
    name, tool, imports = "test", "test.py", _IMPORTS

    def prepare(self, base: Path) -> None:
        import torch

        write_set(base, 4)
        torch.save(
            dict(
                state_dict=dict(weight=torch.zeros(1)),
                meta=dict(dataset_meta=dict(classes=tuple(CLASSES.values()))),
            ),
            base / "weights.pth",
        )

    def damage(self, case: Case) -> None:
        damage_some(case, {"json": ["instances.json"] * 3, "image": ["images/*"]})

    def arguments(self, case: Case) -> list[str]:
        config = _write_config(case, _TEST, "test_mode=True, ")
        weights, out = str(case.source / "weights.pth"), str(case.out / "metrics.json")
        return [config, weights, "--work-dir", str(case.out), "--out", out]

    def judge(self, case: Case, run: Run) -> Account:
        account, source = Account(counted=_left_out(run.output)), read_coco(case.source / "instances.json")
        metrics = {
            key.rpartition("/")[2]: value for key, value in read_json(case.out / "metrics.json").items()
        }
        right = average_precision(source, list(source.images), found_on(source.images), set(CLASSES.values()))
        if right is not None:
            compare_ap(account, "AP", metrics.get("bbox_mAP", -1.0), right)
        for k in range(len(source.entries) - len(source.boxes)):
            account.lose(f"unsound annotation {k}")
        for image_id, image in source.images.items():
            if picture(case.source / "images" / str(image.get("file_name"))) is None:
                account.wrong.append(f"image id {image_id} is scored, but cannot be read")
        return account


def _left_out(output: str) -> int:
    """Return what the data set's messages report as left out."""
    total = printed_counts(output)
    for line in re.findall(r"objects left out: (.*)", output):
        total += sum(int(number) for number in re.findall(r": (\d+)", line))
    return total + sum(map(int, re.findall(r"(\d+) images left out", output)))
