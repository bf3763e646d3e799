"""How many real images generated ones are worth: where the AP of an arm lies on the curve of real images with
copy-paste, the cheap way to use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detdiffusion.utils.figures import png_of

from .arms import COPY_PASTE, ORACLE_COPY_PASTE

Curve = Sequence[tuple[int, float]]
"""(number of real images, AP in percent), at least three, both rising."""


def by_curve(rows: Sequence[dict]) -> dict[tuple[str, str], list[dict]]:
    """Return the rows of each look and learner, which share a curve."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        groups.setdefault((row["look"], row["learner"]), []).append(row)
    return groups


def copy_paste_curve(rows: Sequence[Mapping]) -> Curve | None:
    """Return the curve of real images with copy-paste: the arms ``copy-paste``, and ``oracle-copy-paste`` with the most
    real images.

    Args:
        rows: rows of a look and a learner, see :func:`.table.table_rows`.

    Returns:
        None if there are less than three points, or AP does not rise from each to the next.
    """
    points = [(row["real_images"], row["bbox_mAP"]) for row in rows if row["arm"] == COPY_PASTE]
    more = [(row["real_images"], row["bbox_mAP"]) for row in rows if row["arm"] == ORACLE_COPY_PASTE]
    points += sorted(more)[-1:]
    points.sort()
    rises = all(a[0] < b[0] and a[1] < b[1] for a, b in zip(points, points[1:]))
    return points if rises and len(points) > 2 else None


def worth(ap: float, curve: Curve) -> float | None:
    """Return how many real images with copy-paste have an AP, by linear interpolation over the logarithm of their
    number.

    Args:
        ap: AP in percent.
        curve: see :func:`copy_paste_curve`.

    Returns:
        None outside of the curve.
    """
    images, aps = zip(*curve)
    if not aps[0] <= ap <= aps[-1]:
        return None
    return float(np.exp(np.interp(ap, aps, np.log(images))))


def plotted_arms(rows: Sequence[Mapping]) -> dict[str, list[tuple[int, float]]]:
    """Return number of real images and AP of the arms of a look and a learner that have more than one such number and
    are not on the curve: copy-paste, and those with further real images."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["arm"] != COPY_PASTE and row["real_images"] == row["images"]:
            found.setdefault(row["arm"], []).append((row["images"], row["bbox_mAP"]))
    return {arm: sorted(points) for arm, points in found.items() if len(points) > 1}


def plot_worth(rows: Sequence[dict]) -> bytes | None:
    """Plot AP over the number of labelled real images, a panel for each look and learner, as PNG.

    Args:
        rows: see :func:`.table.table_rows`. Arms with one number of images are left out; so are panels without
            :func:`copy_paste_curve`.

    Returns:
        The PNG file's bytes, or None if there is no panel.
    """
    from matplotlib.figure import Figure

    groups = by_curve(rows)
    curves = {key: curve for key, group in groups.items() if (curve := copy_paste_curve(group))}
    if not curves:
        return None
    figure = Figure(figsize=(6.4 * len(curves), 4.2), layout="constrained")
    for panel, (key, curve) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items()):
        panel.plot(*zip(*curve), color="black", marker="o", label="real images with copy-paste")
        for arm, points in plotted_arms(groups[key]).items():
            panel.plot(*zip(*points), marker="s", linestyle="--", label=arm)
        ticks = [images for images, _ in curve]
        panel.set_xscale("log")
        panel.set_xticks(ticks, [f"{images:,}" for images in ticks])
        panel.minorticks_off()
        panel.set(xlabel="labelled real images", ylabel="AP on held-out real images", title=", ".join(key))
        panel.grid(alpha=0.3)
        panel.legend()
    return png_of(figure)
