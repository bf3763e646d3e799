"""Training curves as inline SVG."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from detdiffusion.utils.training_logs import TrainingLogs

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")
Series = Mapping[str, Sequence[tuple[float, float]]]


def line_chart(series: Series, title: str, width: int = 420, height: int = 220) -> str:
    """Draw a line chart as an ``<svg>`` element, with iterations on the x axis and y starting at 0.

    Args:
        series: points by name; empty series are left out.
        title: title above the chart.
        width, height: size in points.

    Returns:
        SVG text that is safe in HTML, or a paragraph "no log" if there are no points.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    series = {name: list(points) for name, points in series.items() if points}
    if not series:
        return f"<p>{escape(title)}: no log</p>"
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 8}):
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        axes = figure.add_subplot()
        for (name, points), colour in zip(series.items(), itertools.cycle(COLOURS)):
            marker = "o" if len(points) == 1 else None  # a line of one point is invisible
            label = f"{name} {points[-1][1]:.3g}"
            axes.plot(*zip(*points), color=colour, marker=marker, markersize=4, label=label, gid=name)
        axes.set_title(title, loc="left", parse_math=False)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", alpha=0.3)
        axes.tick_params(length=0)
        axes.spines[["top", "right"]].set_visible(False)
        for text in axes.legend(
            labelcolor="linecolor", handlelength=0, handletextpad=0, frameon=False
        ).get_texts():
            text.set_parse_math(False)
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def loss_charts(work_dirs: Mapping[str, str | Path]) -> list[str]:
    """Draw the losses of trainings, one chart each.

    Args:
        work_dirs: work dirs by the title of their chart.
    """
    charts = []
    for title, folder in work_dirs.items():
        losses = TrainingLogs.read(folder).losses()
        parts = {name: points for name, points in losses.items() if name != "loss" or len(losses) != 2}
        charts.append(line_chart(parts, title))  # the sum of a single part is that part
    return charts
