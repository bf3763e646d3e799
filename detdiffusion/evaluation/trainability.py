"""Final scores of detector trainings, read from mmengine's logs and compared at equal iterations."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detdiffusion.evaluation.detection import METRIC_NAMES
from detdiffusion.evaluation.results import result_file
from detdiffusion.utils.errors import UserError


@dataclass
class TrainingRun:
    """What one work dir says.

    Attributes:
        work_dir: the folder.
        iterations: of training: where the last validation was, or the last logged one where epochs are counted.
        metrics: bbox metrics of the last validation.
        log: the file that was read.
        per_class: class name -> AP, where the evaluator was ``classwise``.
        detector: type of the trained detector, from the config in the work dir; '' without one.
        dataset: annotation file of the validation, from the same config.
    """

    work_dir: Path
    iterations: int
    metrics: dict[str, float]
    log: Path
    per_class: dict[str, float] = field(default_factory=dict)
    detector: str = ""
    dataset: str = ""


def read_run(work_dir: str | Path) -> TrainingRun:
    """The last validation of a work dir: of its newest log that has one.

    Raises:
        UserError: no such folder, or no validation in its logs.
    """
    work_dir = Path(work_dir)
    if not work_dir.is_dir():
        raise UserError(f"work dir not found: {work_dir}")
    logs = sorted(work_dir.glob("*/vis_data/scalars.json"), reverse=True)
    iterations = 0
    for log in logs:
        metrics, per_class, validated = {}, {}, 0
        for line in log.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # a run that was killed leaves a torn last line
            if not isinstance(entry, dict):
                continue
            if "loss" in entry:
                iterations = max(iterations, int(entry.get("iter", entry.get("step", 0))))
            found = {key.rsplit("/", 1)[-1]: value for key, value in entry.items() if "bbox_mAP" in key}
            if found:
                names = {
                    k: k.rsplit("/", 1)[-1].removesuffix("_precision")
                    for k in entry
                    if k.endswith("_precision")
                }
                per_class = {name: float(entry[key]) for key, name in names.items()}
                metrics = {name: float(found[name]) for name in METRIC_NAMES if name in found}
                validated = int(entry.get("step", 0))
        if "bbox_mAP" in metrics:
            # by iterations a validation is logged under its own; by epochs under the epoch's number
            return TrainingRun(
                work_dir, max(iterations, validated), metrics, log, per_class, *_trained(work_dir)
            )
    raise UserError(
        f"{work_dir}: no validation in its logs ({len(logs)} files */vis_data/scalars.json); "
        "train with tools/train.py until the end"
    )


def _trained(work_dir: Path) -> tuple[str, str]:
    """Detector type and validation set by the config that mmengine leaves in a work dir."""
    from mmengine.config import Config

    for path in sorted(work_dir.glob("*.py")):
        try:
            cfg = Config.fromfile(path, import_custom_modules=False)
        except Exception:  # a config is Python: one that does not run names nothing
            continue
        if "model" in cfg:
            data = (cfg.get("val_dataloader") or {}).get("dataset") or {}
            file = str(Path(data.get("data_root") or "", data.get("ann_file") or "")) if data else ""
            return str(cfg.model.get("type", "")).rpartition(".")[2], file
    return "", ""


def result_of(
    rows: Sequence[Mapping], notes: Sequence[str], arms: Mapping[str, Sequence[TrainingRun]]
) -> dict:
    """The result file of a comparison, see :mod:`.results`; ``rows`` and ``notes`` of :func:`compare_runs`."""
    runs = [run for one in arms.values() for run in one]
    datasets = sorted({run.dataset for run in runs if run.dataset})
    iterations = sorted({i for row in rows for i in row["iterations"]})
    methods = []
    for row in rows:
        own = arms[row["name"]]
        classes = sorted({name for run in own for name in run.per_class})
        methods.append(
            dict(
                method=row["name"],
                metrics={name: row[name] for name in METRIC_NAMES if row[name] is not None},
                counts=dict(runs=row["runs"], iterations=row["iterations"]),
                per_class={
                    name: statistics.fmean([run.per_class[name] for run in own if name in run.per_class])
                    for name in classes
                },
                detector=own[0].detector,
            )
        )
    seeds = min(row["runs"] for row in rows)
    name = f"{', '.join(map(str, iterations))} iterations, at least {seeds} seed{'s' if seeds > 1 else ''} an arm"
    dataset = ", ".join(datasets) or "unnamed"
    return result_file("trainability", dataset, dict(name=name), methods, notes, rows=list(rows))


def compare_runs(arms: Mapping[str, Sequence[TrainingRun]]) -> tuple[list[dict], list[str]]:
    """One row an arm: means over its runs (seeds), spread, and the difference to the first arm.

    Args:
        arms: name -> runs, the reference first.

    Returns:
        ``(rows, notes)``. A row has ``name, runs, iterations``, each metric's mean (the logs hold three
        decimals), ``bbox_mAP_std`` (sample standard deviation, None for one run) and
        ``difference`` in bbox_mAP to the first row. A note says what makes rows hard to compare.
    """
    rows: list[dict] = []
    for name, runs in arms.items():
        row: dict = {
            "name": name,
            "runs": len(runs),
            "iterations": sorted({run.iterations for run in runs}),
            "work_dirs": [str(run.work_dir) for run in runs],
        }
        for metric in METRIC_NAMES:
            values = [run.metrics[metric] for run in runs if metric in run.metrics]
            row[metric] = statistics.fmean(values) if values else None
        scores = [run.metrics["bbox_mAP"] for run in runs]
        row["bbox_mAP_std"] = statistics.stdev(scores) if len(scores) > 1 else None
        row["difference"] = row["bbox_mAP"] - rows[0]["bbox_mAP"] if rows else 0.0
        rows.append(row)
    notes = []
    iterations = sorted({i for row in rows for i in row["iterations"]})
    if len(iterations) > 1:
        notes.append(f"the runs differ in iterations ({iterations}): not a comparison at equal cost")
    if min(row["runs"] for row in rows) < 3:
        notes.append("fewer than 3 seeds an arm: differences below about 0.01 AP are within seed noise")
    return rows, notes


def markdown_table(rows: Sequence[Mapping], notes: Sequence[str] = ()) -> str:
    """The rows of :func:`compare_runs` as a Markdown table, AP in percent."""
    short = ("mAP", "AP50", "AP75", "APs", "APm", "APl")
    lines = [
        "| arm | runs | iterations | " + " | ".join(short) + " | difference |",
        "|---|---|---|" + "---|" * (len(short) + 1),
    ]
    for row in rows:
        values = [_percent(row[m]) for m in METRIC_NAMES]
        if row["bbox_mAP_std"] is not None:
            values[0] += f" ± {row['bbox_mAP_std'] * 100:.1f}"
        iterations = ", ".join(map(str, row["iterations"]))
        difference = f"{row['difference'] * 100:+.1f}" if row is not rows[0] else "–"
        lines.append(
            f"| {row['name']} | {row['runs']} | {iterations} | {' | '.join(values)} | {difference} |"
        )
    return "\n".join([*lines, *(f"\n{note}" for note in notes)]) + "\n"


def _percent(value: float | None) -> str:
    return "–" if value is None or value < 0 else f"{value * 100:.1f}"
