"""Do objects that are prompted easy get a higher detector score than the same objects prompted hard?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detdiffusion.evaluation.bootstrap import percentile_bootstrap
from detdiffusion.evaluation.consistency import ObjectMatches


def attribute_effect(
    easy: ObjectMatches,
    easy_layouts: Mapping[int, int],
    hard: ObjectMatches,
    hard_layouts: Mapping[int, int],
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict:
    """Detector score of the same objects prompted easy and hard.

    Scores of an object's samples are averaged, then easy - hard is taken per object; the interval resamples layouts
    with their objects.

    Args:
        easy, hard: matches of the two sets.
        easy_layouts, hard_layouts: image id -> layout.
        resamples, level, seed: see :func:`.bootstrap.percentile_bootstrap`.

    Returns:
        ``objects`` that both sets prompt, ``layouts``, ``easy`` and ``hard`` mean scores, ``difference``, ``low``,
        ``high``, ``share_easy_higher`` (objects with the higher score on easy), ``level``, ``resamples``, ``seed``;
        without a common object only ``objects`` and ``layouts``, both 0.
    """
    a, b = _object_scores(easy, easy_layouts), _object_scores(hard, hard_layouts)
    keys = sorted(set(a) & set(b))
    if not keys:
        return dict(objects=0, layouts=0)
    first, second = (np.array([scores[k] for k in keys]) for scores in (a, b))
    _, layout = np.unique([k[0] for k in keys], return_inverse=True)
    difference, n = first - second, int(layout.max()) + 1
    sums, counts = np.bincount(layout, difference, n), np.bincount(layout, minlength=n)

    def mean_difference(drawn: np.ndarray) -> float:
        return sums[drawn].sum() / counts[drawn].sum()

    resampled = percentile_bootstrap(mean_difference, n, resamples, level, seed)
    return dict(
        objects=len(keys),
        layouts=n,
        easy=float(first.mean()),
        hard=float(second.mean()),
        difference=float(difference.mean()),
        low=resampled.low,
        high=resampled.high,
        share_easy_higher=float((difference > 0).mean()),
        level=level,
        resamples=resamples,
        seed=seed,
    )


def _object_scores(matches: ObjectMatches, layouts: Mapping[int, int]) -> dict[tuple[int, int], float]:
    """(layout, source annotation) -> mean score over the layout's images."""
    found: dict[tuple[int, int], list[float]] = {}
    for image, source, score in zip(
        matches.image_ids.tolist(), matches.source_ids.tolist(), matches.score.tolist()
    ):
        found.setdefault((layouts[image], source), []).append(score)
    return {key: float(np.mean(scores)) for key, scores in found.items()}
