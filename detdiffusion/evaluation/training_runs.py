"""What a work dir of a detector training says: final scores, curves, detector, seed. Read from mmengine's logs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from detdiffusion.evaluation.names import METRIC_NAMES
from detdiffusion.utils.errors import UserError

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


def read_run(work_dir: str | Path) -> TrainingRun:
    """A work dir: the last validation is that of its newest log that has one, the curves are of all its logs.

    Raises:
        UserError: no such folder, or no validation in its logs.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise UserError(f"work dir not found: {work_dir}")
    logs = sorted(work_dir.glob("*/vis_data/scalars.json"))
    curve: dict[int, float] = {}
    losses: dict[int, float] = {}
    last: tuple[Path, int, dict, dict] | None = None
    for log in logs:
        logged = 0
        for entry in _entries(log):
            if "loss" in entry:
                logged = max(logged, int(entry.get("iter", entry.get("step", 0))))
                if isinstance(entry["loss"], (int, float)) and math.isfinite(entry["loss"]):
                    losses[logged] = float(entry["loss"])
            found = {key.rpartition("/")[2]: value for key, value in entry.items() if "bbox_mAP" in key}
            if "bbox_mAP" not in found:
                continue
            # by iterations a validation is logged under its own; by epochs under the epoch's number
            iteration = max(logged, int(entry.get("step", 0)))
            metrics = {name: float(found[name]) for name in METRIC_NAMES if name in found}
            curve[iteration] = metrics["bbox_mAP"]
            last = log, iteration, metrics, _per_class(entry)
    if last is None:
        raise UserError(
            f"{work_dir}: no validation in its logs ({len(logs)} files */vis_data/scalars.json); "
            "train with tools/train.py until the end"
        )
    log, iterations, metrics, per_class = last
    config = _read_config(log.with_name("config.py"))
    return TrainingRun(
        work_dir,
        iterations,
        metrics,
        log,
        per_class=per_class,
        curve=sorted(curve.items()),
        losses=sorted(losses.items()),
        detector=str(config.get("model", {}).get("type", "")).rpartition(".")[2],
        seed=config.get("randomness", {}).get("seed"),
        train_ann=_train_ann(config),
        dataset=_ann_file(config, "val_dataloader"),
    )


def _entries(log: Path):
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue  # a run that was killed leaves a torn last line, a full disk zeros
        if isinstance(entry, dict):
            yield entry


def _per_class(entry: dict) -> dict[str, float]:
    """``coco/pine tree_precision`` -> ``pine tree``; mmdet writes NaN for a class without objects."""
    return {
        key.partition("/")[2].removesuffix(_CLASS_SUFFIX): -1.0
        if value is None or math.isnan(value)
        else value
        for key, value in entry.items()
        if "/" in key and key.endswith(_CLASS_SUFFIX) and "bbox_mAP" not in key
    }


def _read_config(path: Path) -> dict:
    """The config that mmengine dumps beside the log; empty where it is missing or unreadable."""
    from mmengine.config import Config

    try:
        return Config.fromfile(path, import_custom_modules=False).to_dict()
    except Exception:  # a config is Python: anything may come out of it, and nothing depends on it
        return {}


def _train_ann(config: dict) -> Path | None:
    """The innermost training set's annotation file, where it is there."""
    name = _ann_file(config, "train_dataloader")
    return Path(name) if name and Path(name).is_file() else None


def _ann_file(config: dict, loader: str) -> str:
    """The innermost data set's annotation file as the config names it; '' without one."""
    dataset = (config.get(loader) or {}).get("dataset", {})
    while isinstance(dataset, dict) and "ann_file" not in dataset:
        inner = dataset.get("dataset") or dataset.get("datasets") or ()
        dataset = inner[0] if isinstance(inner, (list, tuple)) and inner else inner
    if not isinstance(dataset, dict):
        return ""
    return str(Path(dataset.get("data_root") or "", dataset["ann_file"]))
