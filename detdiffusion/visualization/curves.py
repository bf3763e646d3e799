"""Training curves as inline SVG."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")
Series = Mapping[str, Sequence[tuple[float, float]]]


def line_chart(series: Series, title: str, width: int = 420, height: int = 220) -> str:
    """A chart of lines as an ``<svg>`` element, y from 0, x in iterations.

    Args:
        series: name -> points; those without a point are left out.
        title: above the chart.
        width, height: in points.

    Returns:
        SVG text, safe inside HTML; a line that says so where there is nothing to draw.
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
            marker = "o" if len(points) == 1 else None  # a line of one point would not be seen
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
