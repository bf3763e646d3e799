"""Comparison of detectors trained on real only, real + synthetic, ... images, for one or more detectors and seeds."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.evaluation.names import METRIC_NAMES
from detdiffusion.evaluation.results import result_file
from detdiffusion.evaluation.training_runs import TrainingRun, read_run

__all__ = ["TrainingRun", "compare_runs", "compare_classes", "group_runs", "rarest_classes", "read_run"]

Key = tuple[str, str]
"""(detector, arm)"""


def group_runs(named: Sequence[tuple[str, TrainingRun]]) -> dict[Key, list[TrainingRun]]:
    """Group runs by detector and name; several runs of a group are different seeds.

    Returns:
        Runs by (detector, arm), in the order of their first occurrence.
    """
    order = list(dict.fromkeys(run.detector for _, run in named))
    arms: dict[Key, list[TrainingRun]] = {}
    for detector in order:
        for name, run in named:
            if run.detector == detector:
                arms.setdefault((detector, name), []).append(run)
    return arms


def compare_runs(arms: Mapping[Key, Sequence[TrainingRun]]) -> tuple[list[dict], list[str]]:
    """Compute one row per arm: mean and deviation over its runs (seeds), and comparison with the reference.

    Args:
        arms: result of :func:`group_runs`; each detector's first arm is its reference.

    Returns:
        ``(rows, notes)``. A row has ``detector, name, runs, iterations``, each metric's mean (logs have three
        decimals) and sample standard deviation ``<metric>_std`` (None for one run), ``difference`` in bbox_mAP to
        the reference, ``pairs`` and ``p_value`` of :func:`paired_test`, and ``paired_differences`` in bbox_mAP, one
        for each pair. The notes tell what limits the comparison of rows.
    """
    rows: list[dict] = []
    reference: dict[str, tuple[dict, Sequence[TrainingRun]]] = {}
    for (detector, name), runs in arms.items():
        row: dict = {
            "detector": detector,
            "name": name,
            "runs": len(runs),
            "iterations": sorted({run.iterations for run in runs}),
            "work_dirs": [str(run.work_dir) for run in runs],
        }
        for metric in METRIC_NAMES:
            row[metric], row[f"{metric}_std"] = _mean_and_std([run.metrics.get(metric) for run in runs])
        first, first_runs = reference.setdefault(detector, (row, runs))
        row["difference"] = row["bbox_mAP"] - first["bbox_mAP"]
        scores = [] if first is row else paired_scores(runs, first_runs)
        row["pairs"], row["p_value"] = len(scores), paired_test(scores)
        row["paired_differences"] = [round(a - b, 9) for a, b in scores]
        rows.append(row)
    notes = []
    for detector in reference:
        iterations = sorted({i for row in rows if row["detector"] == detector for i in row["iterations"]})
        if len(iterations) > 1:
            of = f"{detector}: " if len(reference) > 1 else ""
            notes.append(f"{of}the runs differ in iterations ({iterations}): not a comparison at equal cost")
    if min(row["runs"] for row in rows) < 3:
        notes.append("fewer than 3 seeds an arm: differences below about 0.01 AP are within seed noise")
    return rows, notes


def result_of(
    rows: Sequence[Mapping], notes: Sequence[str], arms: Mapping[Key, Sequence[TrainingRun]], **more
) -> dict:
    """Build the result file of a comparison, see :mod:`.results`, from the result of :func:`compare_runs`."""
    runs = [run for arm in arms.values() for run in arm]
    datasets = sorted({run.dataset for run in runs if run.dataset})
    iterations = sorted({i for row in rows for i in row["iterations"]})
    methods = []
    for row, arm in zip(rows, arms.values()):
        classes = sorted({name for run in arm for name in run.per_class})
        methods.append(
            dict(
                method=row["name"],
                metrics={name: row[name] for name in METRIC_NAMES if row[name] is not None},
                counts=dict(runs=row["runs"], iterations=row["iterations"]),
                per_class={
                    name: statistics.fmean([run.per_class[name] for run in arm if name in run.per_class])
                    for name in classes
                },
                detector=row["detector"],
            )
        )
    seeds = min(row["runs"] for row in rows)
    name = f"{', '.join(map(str, iterations))} iterations, at least {seeds} seed{'s' if seeds > 1 else ''} an arm"
    dataset = ", ".join(datasets) or "unnamed"
    return result_file("trainability", dataset, dict(name=name), methods, notes, rows=list(rows), **more)


def paired_scores(runs: Sequence[TrainingRun], reference: Sequence[TrainingRun]) -> list[tuple[float, float]]:
    """Return (run, reference) in bbox_mAP, paired over seeds.

    Runs with the same seed are a pair; if seeds are unknown or repeated, runs are paired in order, provided that both
    arms have equally many.
    """
    seeds = [run.seed for run in runs], [run.seed for run in reference]
    if all(None not in arm and len(set(arm)) == len(arm) for arm in seeds):
        other = {run.seed: run for run in reference}
        pairs = [(run, other[run.seed]) for run in runs if run.seed in other]
    else:
        pairs = list(zip(runs, reference)) if len(runs) == len(reference) else []
    return [(a.metrics["bbox_mAP"], b.metrics["bbox_mAP"]) for a, b in pairs]


def paired_test(scores: Sequence[tuple[float, float]]) -> float | None:
    """Return the p value of a two-sided paired t-test; None for fewer than two pairs or equal differences."""
    from scipy.stats import ttest_rel

    if len(scores) < 2 or len({round(a - b, 9) for a, b in scores}) == 1:
        return None
    return float(ttest_rel(*zip(*scores)).pvalue)


def rarest_classes(
    annotations: Sequence[str | Path], names: Sequence[str], count: int
) -> list[tuple[str, float]]:
    """Return the classes with the fewest objects in a training set.

    Args:
        annotations: COCO jsons of the training set.
        names: classes to choose from.
        count: number of classes.

    Returns:
        (name, share of all objects), rarest first.

    Raises:
        UserError: a file is missing or damaged.
    """
    counts: Counter = Counter()
    for file in map(read_coco, annotations):
        name_of = {category["id"]: category["name"] for category in file.categories}
        counts.update(name_of[a["category_id"]] for a in file.annotations if not a["iscrowd"])
    total = max(1, sum(counts.values()))
    return sorted(((name, counts[name] / total) for name in names), key=lambda item: item[1])[:count]


def compare_classes(arms: Mapping[Key, Sequence[TrainingRun]], classes: Sequence[str]) -> list[dict]:
    """Return per arm ``detector, name``, and the mean AP and ``<class>_std`` of each class, None if not logged."""
    rows = []
    for (detector, name), runs in arms.items():
        row: dict = {"detector": detector, "name": name}
        for label in classes:
            row[label], row[f"{label}_std"] = _mean_and_std([run.per_class.get(label) for run in runs])
        rows.append(row)
    return rows


def _mean_and_std(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    values = [value for value in values if value is not None]
    if not values:
        return None, None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
