"""Number of images of each layout: more of layouts with rare classes, or as a file says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from detdiffusion.datasets.json_files import load_json
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

from .identity import rng_of


def class_factors(layouts: Sequence[Layout], threshold: float) -> dict[str, float]:
    """Return how often each class is repeated by repeat factor sampling (LVIS, Gupta et al. 2019, appendix B).

    A class that occurs in a fraction f of the layouts has the factor max(1, sqrt(threshold / f)).

    Args:
        layouts: layouts of a set.
        threshold: classes that occur in a smaller fraction of the layouts are oversampled; in (0, 1].

    Raises:
        UserError: the threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise UserError(f"`oversample_thr` must be in (0, 1], got {threshold}")
    frequency: Counter = Counter(name for layout in layouts for name in set(layout.names))
    return {name: max(1.0, math.sqrt(threshold * len(layouts) / count)) for name, count in frequency.items()}


def repeat_factors(layouts: Sequence[Layout], threshold: float) -> list[float]:
    """Return how often each layout is repeated: the largest factor of its classes, see :func:`class_factors`.

    The same as ``oversample_thr`` of mmdet's ``ClassBalancedDataset``.

    Args:
        layouts: layouts of a set.
        threshold: see :func:`class_factors`.

    Raises:
        UserError: the threshold is out of range.
    """
    factor = class_factors(layouts, threshold)
    return [max((factor[name] for name in layout.names), default=1.0) for layout in layouts]


def samples_of(layouts: Sequence[Layout], factors: Sequence[float], samples: int, seed: int) -> list[int]:
    """Return the number of images of each layout: ``samples * factor``, rounded stochastically but reproducibly.

    Args:
        layouts, factors: see :func:`repeat_factors`.
        samples: images per layout without oversampling.
        seed: seed of the set.
    """
    counts = []
    for layout, factor in zip(layouts, factors):
        whole, fraction = divmod(samples * factor, 1)
        counts.append(int(whole) + (rng_of("oversample", layout.image_id, 0, seed).random() < fraction))
    return counts


def samples_of_file(
    path: str | Path, layouts: Sequence[Layout], samples: int, say: Callable[[str], None] = print
) -> list[int]:
    """Return the number of images of each layout as a file says.

    Args:
        path: json, ``{image id: number of images}``.
        layouts: all layouts of a set.
        samples: images of a layout that the file lacks.
        say: is told how many ids of the file are those of no layout.

    Raises:
        UserError: the file does not exist or has another form, or none of its ids is that of a layout.
    """
    entries = load_json(path, "json with numbers of images")
    if not isinstance(entries, dict) or not entries:
        raise UserError(f"{path}: must be a json object, {{image id: number of images}}")
    for key, count in entries.items():
        if type(count) is not int or count < 1:
            raise UserError(
                f"{path}: {key!r}: the number of images must be a whole number of at least 1, got {count!r}"
            )
    found = [entries.get(str(layout.image_id)) for layout in layouts]
    foreign = len(entries.keys() - {str(layout.image_id) for layout in layouts})
    if layouts and foreign == len(entries):
        raise UserError(
            f"{path}: none of its {len(entries)} image ids, the first {next(iter(entries))}, is one of the "
            f"{len(layouts)} layouts; it belongs to another data set"
        )
    if foreign:
        say(f"{path}: {foreign} of its {len(entries)} ids are not among the layouts")
    return [samples if count is None else count for count in found]
