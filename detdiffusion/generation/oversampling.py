"""More images of layouts with rare classes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

from .identity import rng_of


def repeat_factors(layouts: Sequence[Layout], threshold: float) -> list[float]:
    """Repeat factor sampling (LVIS, Gupta et al. 2019, appendix B): how often each layout is wanted.

    A class in a share f of the layouts has the factor max(1, sqrt(threshold / f)); a layout has the largest
    factor of its classes. mmdet's ``ClassBalancedDataset`` does the same with ``oversample_thr``.

    Args:
        layouts: of a set.
        threshold: classes in a smaller share of the layouts are repeated; in (0, 1].

    Raises:
        UserError: the threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise UserError(f"`oversample_thr` must be in (0, 1], it is {threshold}")
    frequency: Counter = Counter(name for layout in layouts for name in set(layout.names))
    factor = {
        name: max(1.0, math.sqrt(threshold * len(layouts) / count)) for name, count in frequency.items()
    }
    return [max((factor[name] for name in layout.names), default=1.0) for layout in layouts]


def samples_of(layouts: Sequence[Layout], factors: Sequence[float], samples: int, seed: int) -> list[int]:
    """Whole numbers of images: ``samples * factor``, its fraction rounded at random, repeatably.

    Args:
        layouts, factors: see :func:`repeat_factors`.
        samples: images a layout without repetition.
        seed: of the set.
    """
    counts = []
    for layout, factor in zip(layouts, factors):
        whole, fraction = divmod(samples * factor, 1)
        counts.append(int(whole) + (rng_of("oversample", layout.image_id, 0, seed).random() < fraction))
    return counts
