"""Training curves from mmengine's logs as inline SVG."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf")
Series = Mapping[str, Sequence[tuple[float, float]]]


def read_losses(work_dir: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Every ``loss*`` of a work dir's logs.

    Args:
        work_dir: of ``tools/train.py``. Several logs (a training that was continued) are joined; an iteration
            that was done twice counts as it was done last. Torn lines are left out.

    Returns:
        name -> [(iteration, value), ...] by rising iteration; empty without logs.
    """
    found: dict[str, dict[int, float]] = {}
    for log in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        for line in log.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if not isinstance(entry, dict) or "loss" not in entry:
                continue
            for name, value in entry.items():
                if name.startswith("loss") and math.isfinite(value):
                    found.setdefault(name, {})[int(entry.get("iter", entry.get("step", 0)))] = value
    return {name: sorted(points.items()) for name, points in found.items()}


def line_chart(series: Series, title: str, width: int = 420, height: int = 220) -> str:
    """A chart of lines as an ``<svg>`` element, y from 0, x in iterations.

    Args:
        series: name -> points; those without a point are left out.
        title: above the chart.
        width, height: in CSS pixels.

    Returns:
        SVG text, safe inside HTML; a line that says so where there is nothing to draw.
    """
    series = {name: list(points) for name, points in series.items() if points}
    if not series:
        return f"<p>{escape(title)}: no log</p>"
    left, right, top, bottom = 46, 10, 26, 24
    last_x = max(x for points in series.values() for x, _ in points) or 1
    ticks = _ticks(max(y for points in series.values() for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        across = left + (width - left - right) * x / last_x
        down = height - bottom - (height - top - bottom) * max(y, 0) / ticks[-1]
        return round(across, 1), round(down, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="11" role="img">',
        f'<text x="{left}" y="14" font-weight="bold">{escape(title)}</text>',
    ]
    for tick in ticks:
        _, y = place(0, tick)
        parts.append(f'<line x1="{left}" x2="{width - right}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 5}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    for x in (0, last_x / 2, last_x):
        across, down = place(x, 0)
        anchor = "end" if x == last_x else "middle" if x else "start"
        parts.append(f'<text x="{across}" y="{down + 16}" text-anchor="{anchor}">{x:g}</text>')
    for index, (name, points) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        if len(points) == 1:
            x, y = place(*points[0])
            parts.append(f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>')
        else:
            path = " ".join(f"{x},{y}" for x, y in (place(*point) for point in points))
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        label = f"{escape(name)} {points[-1][1]:.3g}"
        y = top + 10 + 13 * index
        parts.append(f'<text x="{width - right}" y="{y}" text-anchor="end" fill="{colour}">{label}</text>')
    return "".join([*parts, "</svg>"])


def _ticks(highest: float) -> list[float]:
    """0 to at least ``highest`` in 3 to 6 round steps."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * (1 - 1e-9))
    return [round(step * i, 10) for i in range(math.ceil(highest / step - 1e-9) + 1)]
