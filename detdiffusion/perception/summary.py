"""Summary of attributes by class and by object size: counts, a table and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from detdiffusion.structures.layout import ATTRIBUTES
from detdiffusion.utils.figures import png_of
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.tables import format_table

# COCO's size classes by `area`, in square pixels.
SIZES = (("small", 0, 32**2), ("medium", 32**2, 96**2), ("large", 96**2, float("inf")))
PLOTTED_CLASSES = 40


def summarise(
    annotations: Sequence[dict],
    attributes: Mapping[int, str],
    names: Mapping[int, str],
    words: Sequence[str] = ATTRIBUTES,
) -> dict[str, dict[str, dict]]:
    """Count the attributes, and compute the share of the easiest level among all objects except background.

    Args:
        annotations: COCO annotation dicts with ``area``; those without an attribute are left out.
        attributes: attributes by annotation id.
        names: category names by id.
        words: the attributes, easiest first, ``background`` last.

    Returns:
        ``{"all": {"all": row}, "size": {name: row}, "class": {name: row}}``; a row is ``{easy, hard,
        background, easy_share}`` (one count per attribute), where the share is None if all objects are background.
        Classes are sorted by descending number of objects.
    """
    groups: dict[str, dict[str, dict]] = {
        "all": {"all": dict.fromkeys(words, 0)},
        "size": {name: dict.fromkeys(words, 0) for name, _, _ in SIZES},
        "class": {},
    }
    for annotation in annotations:
        word = attributes.get(annotation["id"])
        if word is None:
            continue
        size = next(name for name, low, high in SIZES if low <= annotation["area"] < high)
        row_of_class = groups["class"].setdefault(names[annotation["category_id"]], dict.fromkeys(words, 0))
        for row in (groups["all"]["all"], groups["size"][size], row_of_class):
            row[word] += 1
    groups["class"] = dict(sorted(groups["class"].items(), key=lambda item: -sum(item[1].values())))
    for rows in groups.values():
        for row in rows.values():
            found = sum(row[word] for word in words[:-1])
            row["easy_share"] = row[words[0]] / found if found else None
    return groups


def format_summary(groups: Mapping[str, Mapping[str, Mapping]], words: Sequence[str] = ATTRIBUTES) -> str:
    """Format the counts of :func:`summarise` as a table for the terminal."""
    lines: list[list] = []
    for title, rows in groups.items():
        lines += [[], ["" if title == "all" else title, *words, f"share of {words[0]}"]]
        for name, row in rows.items():
            share = "-" if row["easy_share"] is None else f"{row['easy_share']:.1%}"
            lines.append([name, *(row[word] for word in words), share])
    return format_table(lines[1:])


def plot_summary(
    groups: Mapping[str, Mapping[str, Mapping]], path: str | Path, words: Sequence[str] = ATTRIBUTES
) -> None:
    """Plot the shares of the levels by size and by class as a bar chart (png).

    Args:
        groups: result of :func:`summarise`.
        path: file to write. Only the most frequent classes are shown, with the number of the others.
        words: see :func:`summarise`.

    Raises:
        UserError: the file cannot be written.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    levels = words[:-1]
    found = {
        title: {n: r for n, r in rows.items() if r["easy_share"] is not None}
        for title, rows in groups.items()
    }
    hidden = max(0, len(found["class"]) - PLOTTED_CLASSES)
    bars = [*found["all"].items(), *found["size"].items(), *list(found["class"].items())[:PLOTTED_CLASSES]]
    figure = Figure(figsize=(7, 1.6 + 0.26 * max(1, len(bars))), layout="constrained")
    axes = figure.add_subplot()
    # green is easy, red is hard
    colours = [colormaps["RdYlGn"](0.9 - 0.8 * k / max(1, len(levels) - 1)) for k in range(len(levels))]
    for y, (_, row) in enumerate(bars):
        total, left = sum(row[word] for word in levels), 0.0
        for word, colour in zip(levels, colours):
            axes.barh(y, row[word] / total, left=left, color=colour)
            left += row[word] / total
        axes.text(1.01, y, f"{row['easy_share']:.0%} of {total}", va="center", fontsize=8)
    for word, colour in zip(levels, colours):
        axes.barh(0, 0, color=colour, label=word)
    axes.set_yticks(range(len(bars)), [name for name, _ in bars], fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlabel(
        f"share of objects; {words[0]} as number" + (f"; {hidden} rarer classes not shown" * bool(hidden))
    )
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(levels), frameon=False, fontsize=8)
    write_atomic(path, png_of(figure))
