"""Detector trainings compared: real only, real + synthetic, ... for one or more detectors and seeds."""

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
    """Runs by detector and arm: one name under two detectors is two rows, twice under one is two seeds.

    Returns:
        (detector, arm) -> runs; detectors and arms in the order in which they first occur.
    """
    order = list(dict.fromkeys(run.detector for _, run in named))
    arms: dict[Key, list[TrainingRun]] = {}
    for detector in order:
        for name, run in named:
            if run.detector == detector:
                arms.setdefault((detector, name), []).append(run)
    return arms


def compare_runs(arms: Mapping[Key, Sequence[TrainingRun]]) -> tuple[list[dict], list[str]]:
    """One row an arm: means over its runs (seeds), spread, difference to the detector's first arm, paired test.

    Args:
        arms: of :func:`group_runs`; each detector's first arm is its reference.

    Returns:
        ``(rows, notes)``. A row has ``detector, name, runs, iterations``, each metric's mean (the logs hold three
        decimals) and sample standard deviation ``<metric>_std`` (None for one run), ``difference`` in bbox_mAP to
        the reference, and ``pairs`` and ``p_value`` of :func:`paired_test`. A note says what makes rows hard to
        compare.
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
        row["pairs"], row["p_value"] = (0, None) if first is row else paired_test(runs, first_runs)
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
    """The result file of a comparison, see :mod:`.results`; ``rows`` and ``notes`` of :func:`compare_runs`."""
    runs = [run for one in arms.values() for run in one]
    datasets = sorted({run.dataset for run in runs if run.dataset})
    iterations = sorted({i for row in rows for i in row["iterations"]})
    methods = []
    for row, own in zip(rows, arms.values()):
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
                detector=row["detector"],
            )
        )
    seeds = min(row["runs"] for row in rows)
    name = f"{', '.join(map(str, iterations))} iterations, at least {seeds} seed{'s' if seeds > 1 else ''} an arm"
    dataset = ", ".join(datasets) or "unnamed"
    return result_file("trainability", dataset, dict(name=name), methods, notes, rows=list(rows), **more)


def paired_test(runs: Sequence[TrainingRun], reference: Sequence[TrainingRun]) -> tuple[int, float | None]:
    """Two-sided paired t-test of bbox_mAP over seeds.

    Runs of the same seed are a pair; where seeds are unknown or repeat, runs are paired in their order if both arms
    have as many.

    Returns:
        (number of pairs, p value); None with fewer than two pairs or differences that are all the same.
    """
    from scipy.stats import ttest_rel

    seeds = [run.seed for run in runs], [run.seed for run in reference]
    if all(None not in own and len(set(own)) == len(own) for own in seeds):
        other = {run.seed: run for run in reference}
        pairs = [(run, other[run.seed]) for run in runs if run.seed in other]
    else:
        pairs = list(zip(runs, reference)) if len(runs) == len(reference) else []
    scores = [(a.metrics["bbox_mAP"], b.metrics["bbox_mAP"]) for a, b in pairs]
    if len(scores) < 2 or len({round(a - b, 9) for a, b in scores}) == 1:
        return len(scores), None
    return len(scores), float(ttest_rel(*zip(*scores)).pvalue)


def rarest_classes(
    annotations: Sequence[str | Path], names: Sequence[str], count: int
) -> list[tuple[str, float]]:
    """The classes with the fewest objects of a training set.

    Args:
        annotations: its COCO jsons.
        names: classes to choose from.
        count: how many.

    Returns:
        (name, share of all objects), the rarest first.

    Raises:
        UserError: a missing or broken file.
    """
    counts: Counter = Counter()
    for file in map(read_coco, annotations):
        name_of = {category["id"]: category["name"] for category in file.categories}
        counts.update(name_of[a["category_id"]] for a in file.annotations if not a["iscrowd"])
    total = max(1, sum(counts.values()))
    return sorted(((name, counts[name] / total) for name in names), key=lambda item: item[1])[:count]


def compare_classes(arms: Mapping[Key, Sequence[TrainingRun]], classes: Sequence[str]) -> list[dict]:
    """One row an arm: ``detector, name``, and for each class its mean AP and ``<class>_std``, None where not logged."""
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
