"""How much of its objects a filter leaves, and what to loosen where that is little: every reader that filters asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detdiffusion.utils.errors import UserError

LITTLE = 0.5
"""Below this share a warning is given."""
LEAST = 0.05
"""Below this share a filter is taken for a mistake, unless the caller allows it."""


def little_left(
    kept: int, taken: Mapping[str, int], options: str, spreads: Mapping[str, str] | None = None
) -> str | None:
    """What a filter left; None where it left half or more.

    Args:
        kept: number of objects.
        taken: rule, a text, -> number of objects that it took.
        options: where the rules are chosen.
        spreads: rule -> how the data is spread over what it looks at.
    """
    total = kept + sum(taken.values())
    if kept >= LITTLE * total:
        return None
    spreads = spreads or {}
    rules = "; ".join(
        f"{rule} takes {count}" + (f" ({spreads[rule]})" if rule in spreads else "")
        for rule, count in taken.items()
        if count
    )
    return f"the filter leaves only {kept} of {total} objects ({kept / total:.1%}): {rules}; {options}"


def refuse_least(kept: int, taken: Mapping[str, int], least: float, said: str, option: str) -> None:
    """Stops where a filter left less than somebody can want.

    Args:
        kept, taken: see :func:`little_left`.
        least: smallest share that is allowed.
        said: whose filter left what.
        option: how to allow it.

    Raises:
        UserError: less is left.
    """
    share = kept / max(1, kept + sum(taken.values()))
    if share < least:
        raise UserError(f"{said}; if {share:.1%} is what you want, {option}")


def layouts_taken(report: Mapping[str, int]) -> dict[str, int]:
    """What the sizes and the number of objects an image took, by the counts of a layout data set: crowds, ignored
    objects and classes that are not wanted do not count."""
    return {
        reason: count
        for reason, count in report.items()
        if reason.startswith(("objects up to ", "objects of images with too "))
    }


def describe(
    report: Mapping[str, int], filter_cfg: Mapping, ratios: Sequence[float], counts: Sequence[int]
) -> str | None:
    """What the filter left, which rule took how much, and the data's quantiles; None where it left half or more.

    Args:
        report: the filter's counts.
        filter_cfg: its settings.
        ratios: share of its image of each object that the filter decided on.
        counts: of each image, its objects that are large enough.
    """
    taken, spreads = {}, {}
    for reason, count in layouts_taken(report).items():
        if reason.startswith("objects up to "):
            option, spread = "min_area_ratio", f"share of the image: {quantiles(ratios, '.2g')}"
        else:
            option = "min_objects" if reason.endswith("few") else "max_objects"
            spread = f"objects an image: {quantiles(counts, '.0f')}"
        rule = f"{option}={filter_cfg[option]:g}"
        taken[rule], spreads[rule] = count, spread
    said = little_left(report.get("objects kept", 0), taken, "these options are in filter_cfg", spreads)
    return said and f"warning: {said}"


def quantiles(values: Sequence[float], form: str) -> str:
    """Three quantiles in words.

    Args:
        values: any number of them.
        form: how a number is formatted.
    """
    low, middle, high = np.quantile(np.asarray(values, float), [0.1, 0.5, 0.9]) if len(values) else (0, 0, 0)
    return f"10 % up to {low:{form}}, half up to {middle:{form}}, 90 % up to {high:{form}}"
