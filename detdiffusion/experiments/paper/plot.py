"""Plot of the scoreboard: differences of all comparisons by seed."""

from __future__ import annotations

from detdiffusion.utils.figures import png_of

from .verdicts import BESIDE

_COLOURS = {"holds": "#2ca02c", "does not hold": "#d62728", "undecided": "#7f7f7f"}


def plot_differences(board: dict) -> bytes | None:
    """Plot the differences of each comparison that is part of a verdict, one dot per seed, and their mean, as PNG.

    Values right of zero have the claimed direction. Comparisons in AP share a panel; others have their own.

    Args:
        board: result of :func:`.scoreboard.scoreboard`.

    Returns:
        The PNG file's bytes, or None if no comparison has a value yet.
    """
    from matplotlib.figure import Figure

    groups: dict[str, list[tuple[str, dict, float]]] = {}
    for row in board["claims"]:
        factor, _ = row["unit"]
        for comparison in row["comparisons"]:
            if comparison["n"] and comparison["role"] not in BESIDE:
                names = (comparison["higher"]["quantity"], comparison["lower"]["quantity"])
                label = f"{row['claim']}  {names[0]} − {names[1]}"
                title = "AP, percentage points" if factor == 100 else label
                groups.setdefault(title, []).append((label, comparison, factor))
    if not groups:
        return None
    heights = [len(rows) + 1.2 for rows in groups.values()]
    figure = Figure(figsize=(10, 0.28 * sum(heights) + 0.8), layout="constrained")
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, (title, rows) in zip(panels, groups.items()):
        panel.axvline(0, color="black", linewidth=0.8)
        for height, (_, comparison, factor) in enumerate(rows):
            colour = _COLOURS[comparison["verdict"]]
            values = [factor * value for value in comparison["differences"].values()]
            mean = factor * comparison["difference"]["mean"]
            panel.plot(values, [height] * len(values), "o", color=colour, alpha=0.5, markersize=5)
            panel.plot(mean, height, "|", color=colour, markersize=14, mew=2.5)
        panel.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=8)
        panel.set_ylim(len(rows) - 0.4, -0.6)
        if title != rows[0][0]:
            panel.set_title(title, fontsize=9, loc="left")
        panel.grid(axis="x", alpha=0.3)
    figure.suptitle("Difference of each comparison, a dot a seed: right of zero as claimed", fontsize=10)
    return png_of(figure)
