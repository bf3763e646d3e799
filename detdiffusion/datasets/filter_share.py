"""Warnings and errors for filters that keep few of the objects; used by every reader that filters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detdiffusion.utils.errors import UserError

LITTLE = 0.5
"""A filter that keeps less than this share causes a warning."""
LEAST = 0.05
"""A filter that keeps less than this share is an error, unless the caller allows it."""


def little_left(
    kept: int, taken: Mapping[str, int], options: str, spreads: Mapping[str, str] | None = None
) -> str | None:
    """Describe what a filter kept; None if it kept half or more.

    Args:
        kept: number of kept objects.
        taken: description of a rule -> number of objects that it removed.
        options: where the rules can be changed, e.g. ``'min_size is in filter_cfg'``.
        spreads: rule -> distribution of the quantity that it tests.
    """
    total = kept + sum(taken.values())
    if kept >= LITTLE * total:
        return None
    spreads = spreads or {}
    rules = "; ".join(
        f"{rule} removes {count}" + (f" ({spreads[rule]})" if rule in spreads else "")
        for rule, count in taken.items()
        if count
    )
    return f"the filter keeps only {kept} of {total} objects ({kept / total:.1%}): {rules}; {options}"


def refuse_least(kept: int, taken: Mapping[str, int], least: float, said: str, option: str) -> None:
    """Raise if a filter kept less than the allowed share.

    Args:
        kept, taken: see :func:`little_left`.
        least: smallest share that is allowed.
        said: result of :func:`little_left` with the name of the data set.
        option: how to allow it, e.g. ``'set min_kept=0 beside filter_cfg'``.

    Raises:
        UserError: if it kept less than ``least``.
    """
    share = kept / max(1, kept + sum(taken.values()))
    if share < least:
        raise UserError(f"{said}; if {share:.1%} is what you want, {option}")


def layouts_taken(report: Mapping[str, int]) -> dict[str, int]:
    """Select the counts of objects removed by size and by number of objects per image from a layout data set's report;
    crowds, ignored objects and unused classes are excluded."""
    return {
        reason: count
        for reason, count in report.items()
        if reason.startswith(("objects up to ", "objects of images with too "))
    }


def describe(
    report: Mapping[str, int], filter_cfg: Mapping, ratios: Sequence[float], counts: Sequence[int]
) -> str | None:
    """Describe how many objects a filter kept, what each rule removed, and quantiles of the data; None if it kept half
    or more.

    Args:
        report: the filter's counts.
        filter_cfg: its settings.
        ratios: area of each tested object as a share of its image.
        counts: number of sufficiently large objects of each image.
    """
    taken, spreads = {}, {}
    for reason, count in layouts_taken(report).items():
        if reason.startswith("objects up to "):
            option, spread = "min_area_ratio", f"share of the image: {quantiles(ratios, '.2g')}"
        else:
            option = "min_objects" if reason.endswith("few") else "max_objects"
            spread = f"objects per image: {quantiles(counts, '.0f')}"
        rule = f"{option}={filter_cfg[option]:g}"
        taken[rule], spreads[rule] = count, spread
    return little_left(report.get("objects kept", 0), taken, "these options are in filter_cfg", spreads)


def quantiles(values: Sequence[float], form: str) -> str:
    """Describe the 10 %, 50 % and 90 % quantiles.

    Args:
        values: any number of values.
        form: format specification of a number.
    """
    low, middle, high = np.quantile(np.asarray(values, float), [0.1, 0.5, 0.9]) if len(values) else (0, 0, 0)
    return f"10 % up to {low:{form}}, half up to {middle:{form}}, 90 % up to {high:{form}}"
