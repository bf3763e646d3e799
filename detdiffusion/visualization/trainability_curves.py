"""Training loss and validation AP of several arms over the iterations, as in the paper's Figure 6 (png)."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detdiffusion.utils.figures import png_of
from detdiffusion.utils.files import write_atomic

from .curves import COLOURS

if TYPE_CHECKING:
    from detdiffusion.evaluation.training_runs import TrainingRun


def plot_curves(arms: Mapping[tuple[str, str], Sequence[TrainingRun]], path: str | Path) -> None:
    """Plot loss and validation mAP for each detector; several seeds are shown as mean and range.

    Args:
        arms: runs by (detector, arm).
        path: png file to write.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    detectors = list(dict.fromkeys(detector for detector, _ in arms))
    figure = Figure(figsize=(10, 3.4 * len(detectors)), layout="constrained")
    charts = figure.subplots(len(detectors), 2, squeeze=False)
    for (left, right), detector in zip(charts, detectors):
        of_detector = {name: runs for (other, name), runs in arms.items() if other == detector}
        for (name, runs), colour in zip(of_detector.items(), (c for _ in of_detector for c in COLOURS)):
            _draw(left, [_smooth(run.losses) for run in runs], colour, name)
            points = [[(x, 100 * y) for x, y in run.curve] for run in runs]
            _draw(right, points, colour, name, marker="o", markersize=3)
        left.set(title=" ".join([detector, "training loss"]).strip(), xlabel="iteration")
        right.set(title=" ".join([detector, "validation mAP"]).strip(), xlabel="iteration")
        right.legend(fontsize=8)
        for axes in (left, right):
            axes.grid(alpha=0.3)
    write_atomic(path, png_of(figure))


def _draw(axes, series: Sequence[Sequence[tuple[float, float]]], colour: str, label: str, **style) -> None:
    """Plot mean and range at the iterations that all series have, or each series if they have none in common."""
    series = [points for points in series if points]
    shared = sorted(set.intersection(*(({x for x, _ in points}) for points in series))) if series else []
    if not shared:
        for k, points in enumerate(series):
            axes.plot(*zip(*points), color=colour, label=label if k == 0 else None, **style)
        return
    values = [[dict(points)[x] for points in series] for x in shared]
    axes.plot(shared, [statistics.fmean(v) for v in values], color=colour, label=label, **style)
    if len(series) > 1:
        axes.fill_between(
            shared, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.15
        )


def _smooth(points: Sequence[tuple[int, float]], share: float = 0.02) -> list[tuple[int, float]]:
    """Smooth a noisy loss by a moving mean over a share of the points."""
    window = max(1, round(share * len(points)))
    return [
        (points[k][0], statistics.fmean(y for _, y in points[max(0, k - window + 1) : k + 1]))
        for k in range(len(points))
    ]
