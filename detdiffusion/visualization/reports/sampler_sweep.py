"""Output of ``tools/analysis_tools/sampler_sweep.py``: a table, and curves over the network evaluations (png)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from detdiffusion.utils.figures import png_of
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.tables import format_table

from ..curves import COLOURS


def sweep_table(result: Mapping) -> str:
    """Return the table of a result of :func:`detdiffusion.apis.sweep_sampling`; AP in percent, per-image seconds."""
    rows = [["plan", "evaluations", "seconds", "AP", "AP - paper", "95 % interval", "Fréchet"]]
    for row in result["plans"]:
        change = row["difference"]
        rows.append(
            [
                row["name"] + (" *" if row["name"] == result["cheapest"] else ""),
                row["evaluations"],
                _figure(row["seconds"], ".3g"),
                f"{100 * row['bbox_mAP']:.1f}",
                f"{100 * change['difference']:+.1f}" if change else "",
                f"[{100 * change['low']:+.1f}, {100 * change['high']:+.1f}]" if change else "",
                _figure(row["frechet"], ".3g"),
            ]
        )
    real = result["real"]
    rows.append(["real images", "", "", f"{100 * real['bbox_mAP']:.1f}", "", "", ""])
    return format_table(rows)


def print_sweep(result: Mapping) -> None:
    """Print the table, the cheapest plan and the notes."""
    print(sweep_table(result))
    paper, chosen = (
        next(row for row in result["plans"] if row["name"] == name) for name in ("paper", result["cheapest"])
    )
    print(
        f"* cheapest plan whose AP is not below that of 'paper' within the interval: {chosen['name']}, "
        f"{chosen['evaluations']} of {paper['evaluations']} evaluations an image"
    )
    for note in result["notes"]:
        print(f"note: {note}")


def plot_sweep(result: Mapping, path: str | Path) -> None:
    """Plot AP, Fréchet distance and seconds over the evaluations per image.

    Error bars of AP are the intervals of the difference from the paper's plan.

    Args:
        result: of :func:`detdiffusion.apis.sweep_sampling`.
        path: png file to write.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    panels = (
        ("AP", "bbox_mAP", 100),
        ("Fréchet distance of detector features", "frechet", 1),
        ("seconds an image", "seconds", 1),
    )
    for axes, (title, key, scale) in zip(figure.subplots(1, 3), panels):
        for row in result["plans"]:
            if row[key] is not None:
                chosen = row["name"] == result["cheapest"]
                style = dict(color=COLOURS[chosen], marker="D" if chosen else "o", capsize=3)
                value, change = scale * row[key], row["difference"]
                error = None
                if key == "bbox_mAP" and change:
                    low, high = (abs(change[end] - change["difference"]) for end in ("low", "high"))
                    error = [[scale * low], [scale * high]]
                axes.errorbar(row["evaluations"], value, yerr=error, **style)
                axes.annotate(
                    row["name"], (row["evaluations"], value), (4, 4), textcoords="offset points", fontsize=7
                )
        axes.set(title=title, xlabel="network evaluations an image")
        axes.set_xscale("log")
        axes.grid(alpha=0.3)
    write_atomic(path, png_of(figure))


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
