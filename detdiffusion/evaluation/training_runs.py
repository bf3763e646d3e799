"""What a work dir of a detector training says: final scores, curves, detector, seed. Read from mmengine's logs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from detdiffusion.evaluation.names import METRIC_NAMES
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.training_logs import LogEntry, TrainingLogs

_CLASS_SUFFIX = "_precision"


@dataclass
class TrainingRun:
    """What one work dir says.

    Attributes:
        work_dir: the folder.
        iterations: of training: where the last validation was, or the last logged one where epochs are counted.
        metrics: bbox metrics of the last validation.
        log: the file that they were read from.
        per_class: class name -> AP of the last validation (``CocoMetric(classwise=True)``), -1 without objects.
        curve: (iteration, bbox_mAP) of every validation.
        losses: (iteration, training loss).
        detector: ``model.type`` of the config, '' where it is unknown.
        seed: ``randomness.seed`` of the config, or None.
        train_ann: annotation file of the training images, or None.
        dataset: annotation file of the validation as the config names it, '' where it is unknown.
        notes: what of the logs could not be read.
    """

    work_dir: Path
    iterations: int
    metrics: dict[str, float]
    log: Path
    per_class: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, float]] = field(default_factory=list)
    losses: list[tuple[int, float]] = field(default_factory=list)
    detector: str = ""
    seed: int | None = None
    train_ann: Path | None = None
    dataset: str = ""
    notes: list[str] = field(default_factory=list)


def read_run(work_dir: str | Path) -> TrainingRun:
    """A work dir: the last validation is that of its newest log that has one, the curves are of all its logs.

    Raises:
        UserError: no such folder, a log that cannot be read, a value in it that is no number, or no validation.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise UserError(f"work dir not found: {work_dir}")
    logs = TrainingLogs.read(work_dir)
    curve: dict[int, float] = {}
    last: tuple[LogEntry, int, dict] | None = None
    for entry in logs.entries:
        found = {key.rpartition("/")[2]: key for key in entry.values if "bbox_mAP" in key}
        if "bbox_mAP" not in found:
            continue
        # by iterations a validation is logged under its own; by epochs under the epoch's number
        iteration = max(entry.iteration, entry.whole_number("step"))
        metrics = {name: entry.number(found[name]) for name in METRIC_NAMES if name in found}
        curve[iteration] = metrics["bbox_mAP"]
        last = entry, iteration, metrics
    if last is None:
        raise UserError(
            f"{work_dir}: no validation in its logs ({len(logs.files)} files */vis_data/scalars.json); "
            "train with tools/train.py until the end"
        )
    entry, iterations, metrics = last
    config = _read_config(entry.log.with_name("config.py"), logs.notes)
    return TrainingRun(
        work_dir,
        iterations,
        metrics,
        entry.log,
        per_class=_per_class(entry),
        curve=sorted(curve.items()),
        losses=logs.losses().get("loss", []),
        detector=str(_section(config, "model").get("type", "")).rpartition(".")[2],
        seed=_section(config, "randomness").get("seed"),
        train_ann=_train_ann(config),
        dataset=_ann_file(config, "val_dataloader"),
        notes=logs.notes,
    )


def _per_class(entry: LogEntry) -> dict[str, float]:
    """``coco/pine tree_precision`` -> ``pine tree``; mmdet writes NaN for a class without objects."""
    found = {}
    for key, value in entry.values.items():
        if "/" in key and key.endswith(_CLASS_SUFFIX) and "bbox_mAP" not in key:
            empty = value is None or (isinstance(value, float) and math.isnan(value))
            name = key.partition("/")[2].removesuffix(_CLASS_SUFFIX)
            found[name] = -1.0 if empty else entry.number(key)
    return found


def _read_config(path: Path, notes: list[str]) -> dict:
    """The config that mmengine dumps beside the log; empty, with a note, where it is missing or unreadable."""
    from mmengine.config import Config

    try:
        return Config.fromfile(path, import_custom_modules=False).to_dict()
    except Exception as error:  # a config is Python: anything may come out of it, and nothing depends on it
        reason = " ".join(str(error).split()) or type(error).__name__
        notes.append(f"{path}: cannot be read, so detector, seed and data are unknown: {reason[:200]}")
        return {}


def _section(config: Mapping, name: str) -> dict:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _train_ann(config: dict) -> Path | None:
    """The innermost training set's annotation file, where it is there."""
    name = _ann_file(config, "train_dataloader")
    return Path(name) if name and Path(name).is_file() else None


def _ann_file(config: dict, loader: str) -> str:
    """The innermost data set's annotation file as the config names it; '' without one."""
    dataset = _section(config, loader).get("dataset", {})
    while isinstance(dataset, dict) and "ann_file" not in dataset:
        inner = dataset.get("dataset") or dataset.get("datasets") or ()
        dataset = inner[0] if isinstance(inner, (list, tuple)) and inner else inner
    if not isinstance(dataset, dict) or not isinstance(dataset["ann_file"], str):
        return ""
    return str(Path(str(dataset.get("data_root") or ""), dataset["ann_file"]))
