"""The scoreboard's plot: every comparison's differences, seed by seed."""

from __future__ import annotations

from io import BytesIO

_COLOURS = {"holds": "#2ca02c", "does not hold": "#d62728", "undecided": "#7f7f7f"}


def plot_differences(board: dict) -> bytes | None:
    """A PNG: a dot a seed and the mean of every comparison that decides a verdict.

    Right of zero is the claimed direction. Comparisons in AP share a panel; each in another unit has its own.

    Args:
        board: of :func:`.scoreboard.scoreboard`.

    Returns:
        The file's bytes; None where no comparison has a value yet.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups: dict[str, list[tuple[str, dict, float]]] = {}
    for row in board["claims"]:
        factor, _ = row["unit"]
        for one in row["comparisons"]:
            if one["n"] and one["role"] != "note":
                label = f"{row['claim']}  {one['higher']['quantity']} − {one['lower']['quantity']}"
                title = "AP, percentage points" if factor == 100 else label
                groups.setdefault(title, []).append((label, one, factor))
    if not groups:
        return None
    heights = [len(rows) + 1.2 for rows in groups.values()]
    figure = Figure(figsize=(10, 0.28 * sum(heights) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (title, rows) in zip(panels, groups.items()):
        panel.axvline(0, color="black", linewidth=0.8)
        for height, (_, one, factor) in enumerate(rows):
            colour = _COLOURS[one["verdict"]]
            values = [factor * value for value in one["differences"].values()]
            panel.plot(values, [height] * len(values), "o", color=colour, alpha=0.5, markersize=5)
            panel.plot(factor * one["difference"]["mean"], height, "|", color=colour, markersize=14, mew=2.5)
        panel.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=8)
        panel.set_ylim(len(rows) - 0.4, -0.6)
        if title != rows[0][0]:
            panel.set_title(title, fontsize=9, loc="left")
        panel.grid(axis="x", alpha=0.3)
    figure.suptitle("Difference of each comparison, a dot a seed: right of zero as claimed", fontsize=10)
    file = BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()
