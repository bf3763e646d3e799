"""How much of its objects a data set's filter leaves, and what to loosen where that is little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

LITTLE = 0.5
"""Below this share a warning is given."""


def share_kept(report: Mapping[str, int]) -> float:
    """Objects that are left, of those that the sizes and the number of objects an image decide on: crowds, ignored
    objects and classes that are not wanted do not count."""
    kept = report.get("objects kept", 0)
    return kept / max(1, kept + sum(count for reason, count in report.items() if _is_filtered(reason)))


def _is_filtered(reason: str) -> bool:
    return reason.startswith(("objects up to ", "objects of images with too "))


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
    share = share_kept(report)
    if share >= LITTLE:
        return None
    kept = report.get("objects kept", 0)
    total = len(ratios)
    rules = []
    small = sum(count for reason, count in report.items() if reason.startswith("objects up to "))
    if small:
        limit = filter_cfg["min_area_ratio"]
        rules.append(
            f"min_area_ratio={limit:g} takes {small} (share of the image: {_quantiles(ratios, '.2g')})"
        )
    for kind, option in (("few", "min_objects"), ("many", "max_objects")):
        if taken := report.get(f"objects of images with too {kind}", 0):
            rules.append(
                f"{option}={filter_cfg[option]} takes {taken} (objects an image: {_quantiles(counts, '.0f')})"
            )
    return (
        f"warning: the filter leaves only {kept} of {total} objects ({share:.1%}): {'; '.join(rules)}; these "
        "options are in filter_cfg"
    )


def _quantiles(values: Sequence[float], form: str) -> str:
    low, middle, high = np.quantile(np.asarray(values, float), [0.1, 0.5, 0.9]) if len(values) else (0, 0, 0)
    return f"10 % up to {low:{form}}, half up to {middle:{form}}, 90 % up to {high:{form}}"
