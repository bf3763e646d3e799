"""Percentile bootstrap of what is measured on layouts, and of the difference of two sets' COCO AP.

Sets of images are compared on the same layouts: a resample draws layouts with replacement, the same ones for both.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from detdiffusion.evaluation.ap_matches import ApMatches
from detdiffusion.utils.errors import UserError


@dataclass(frozen=True)
class Resampled:
    """A statistic on resamples.

    Attributes:
        values: (resamples,) float64.
        low, high: percentile interval.
    """

    values: np.ndarray
    low: float
    high: float


def percentile_bootstrap(
    statistic: Callable[[np.ndarray], float], units: int, resamples: int, level: float, seed: int
) -> Resampled:
    """Values of a statistic on resamples of units, and their percentile interval (Efron 1979).

    Args:
        statistic: of the units drawn, (units,) int64 with repetitions.
        units: as many are drawn as there are.
        resamples: number of resamples.
        level: coverage of the interval.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    values = np.array([statistic(rng.integers(0, units, units)) for _ in range(resamples)], np.float64)
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Resampled(values, float(low), float(high))


@dataclass(frozen=True)
class BootstrapResult:
    """AP difference a - b on the same layouts.

    Attributes:
        ap_a, ap_b, difference: values on the layouts as they are.
        mean, low, high: mean and percentile interval of the resampled differences.
        share_above_zero: share of resamples with a difference above 0.
        level, resamples, seed, layouts: how it was computed.
    """

    ap_a: float
    ap_b: float
    difference: float
    mean: float
    low: float
    high: float
    share_above_zero: float
    level: float
    resamples: int
    seed: int
    layouts: int

    def to_dict(self) -> dict:
        """The fields, for a result file."""
        return asdict(self)


def paired_bootstrap(
    a: ApMatches,
    b: ApMatches,
    layouts_a: Mapping[int, Hashable] | None = None,
    layouts_b: Mapping[int, Hashable] | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> BootstrapResult:
    """Resamples layouts with replacement, the same ones for both sets, and collects AP(a) - AP(b).

    Args:
        a, b: matches of the two result sets.
        layouts_a, layouts_b: image id -> layout key (the source image id of a generated image); None where
            the image id is the key itself. Several images of a layout move together.
        resamples: number of resamples.
        level: coverage of the percentile interval.
        seed: of the resampling.

    Raises:
        UserError: the two sets do not show the same layouts.
    """
    keys_a, keys_b = _layout_keys(a, layouts_a), _layout_keys(b, layouts_b)
    if set(keys_a) != set(keys_b):
        raise UserError(
            "a paired bootstrap needs the same layouts on both sides: "
            f"{len(set(keys_a) - set(keys_b))} layouts are only in the first set and "
            f"{len(set(keys_b) - set(keys_a))} only in the second"
        )
    order = {key: i for i, key in enumerate(dict.fromkeys(keys_a))}
    index_a = np.array([order[key] for key in keys_a])
    index_b = np.array([order[key] for key in keys_b])

    def difference(drawn: np.ndarray) -> float:
        counts = np.bincount(drawn, minlength=len(order))
        return a.ap(counts[index_a]) - b.ap(counts[index_b])

    resampled = percentile_bootstrap(difference, len(order), resamples, level, seed)
    ap_a, ap_b = a.ap(), b.ap()
    return BootstrapResult(
        ap_a=ap_a,
        ap_b=ap_b,
        difference=ap_a - ap_b,
        mean=float(resampled.values.mean()),
        low=resampled.low,
        high=resampled.high,
        share_above_zero=float((resampled.values > 0).mean()),
        level=level,
        resamples=resamples,
        seed=seed,
        layouts=len(order),
    )


def _layout_keys(matches: ApMatches, layouts: Mapping[int, Hashable] | None) -> list[Hashable]:
    if layouts is None:
        return list(matches.image_ids)
    absent = [i for i in matches.image_ids if i not in layouts]
    if absent:
        raise UserError(f"{len(absent)} images have no layout, the first {absent[:5]}")
    return [layouts[i] for i in matches.image_ids]
