"""The share of easy objects by class and by size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .attributes_file import WORDS

# COCO's limits of the field `area`, in square pixels.
SIZES = (("small", 0, 32**2), ("medium", 32**2, 96**2), ("large", 96**2, float("inf")))


def summarise(
    annotations: Sequence[dict], attributes: Mapping[int, str], names: Mapping[int, str]
) -> dict[str, dict[str, dict]]:
    """Counts of each attribute and the share of easy among easy and hard.

    Args:
        annotations: COCO annotation dicts with ``area``; those without an attribute are left out.
        attributes: annotation id -> attribute.
        names: category id -> name.

    Returns:
        ``{"all": {"all": row}, "size": {name: row}, "class": {name: row}}``; a row is ``{easy, hard,
        background, easy_share}``, the share None where there is neither easy nor hard. Classes by falling
        number.
    """
    groups: dict[str, dict[str, dict]] = {
        "all": {"all": _row()},
        "size": {name: _row() for name, _, _ in SIZES},
        "class": {},
    }
    for annotation in annotations:
        word = attributes.get(annotation["id"])
        if word is None:
            continue
        size = next(name for name, low, high in SIZES if low <= annotation["area"] < high)
        name = names[annotation["category_id"]]
        for row in (groups["all"]["all"], groups["size"][size], groups["class"].setdefault(name, _row())):
            row[word] += 1
    for rows in groups.values():
        for row in rows.values():
            found = row["easy"] + row["hard"]
            row["easy_share"] = row["easy"] / found if found else None
    groups["class"] = dict(
        sorted(groups["class"].items(), key=lambda item: -sum(item[1][word] for word in WORDS))
    )
    return groups


def format_summary(groups: Mapping[str, Mapping[str, Mapping]]) -> str:
    """The counts of :func:`summarise` as a table for the terminal."""
    width = max(len(name) for rows in groups.values() for name in rows)
    width = max(width, len("class"))
    lines = []
    for title, rows in groups.items():
        label = "" if title == "all" else title
        lines.append(f"{label:<{width}}  {'easy':>8}  {'hard':>8}  {'background':>10}  share of easy")
        for name, row in rows.items():
            share = "-" if row["easy_share"] is None else f"{row['easy_share']:.1%}"
            lines.append(
                f"{name:<{width}}  {row['easy']:>8}  {row['hard']:>8}  {row['background']:>10}  {share:>13}"
            )
        lines.append("")
    return "\n".join(lines[:-1])


def _row() -> dict:
    return dict.fromkeys(WORDS, 0)
