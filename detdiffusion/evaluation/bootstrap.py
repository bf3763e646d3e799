"""Paired bootstrap of COCO AP: is one set of images better than another on the same layouts?

Matching detections to objects happens inside an image, so it is done once. A resample only gives every
layout a multiplicity; AP is then re-accumulated with weighted counts. This is exactly the AP of the image
list with repetitions: a repeated true positive reaches its recall at a precision that the later repetition
exceeds, and the precision envelope takes the later one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from pycocotools.cocoeval import COCOeval

from detdiffusion.evaluation.detection import coco_eval
from detdiffusion.utils.errors import UserError


@dataclass
class _ClassMatches:
    """Detections of one class over all images, by falling score (ties in image order, as in pycocotools)."""

    image: np.ndarray  # (D,) int64 index of the image
    true: np.ndarray  # (T, D) float64, 1 where matched to an object that counts, at T IoU thresholds
    false: np.ndarray  # (T, D) float64
    objects: np.ndarray  # (I,) int64 objects that count in each image


class ApMatches:
    """Matches of one result set, ready to give AP under any image weights.

    Args:
        evaluator: ``COCOeval`` after ``evaluate()``, the result of
            :func:`~detdiffusion.evaluation.detection.coco_eval`.

    Attributes:
        image_ids: I image ids, in the order of the weights.
    """

    def __init__(self, evaluator: COCOeval) -> None:
        params = evaluator.params
        self.image_ids: list[int] = list(params.imgIds)
        self._recalls = np.asarray(params.recThrs)
        self._thresholds = len(params.iouThrs)
        n_images, n_areas, limit = len(params.imgIds), len(params.areaRng), params.maxDets[-1]
        self._classes = []
        for k in range(len(params.catIds)):
            start = k * n_areas * n_images  # area range 0 is 'all'
            cells = evaluator.evalImgs[start : start + n_images]
            self._classes.append(_class_matches(cells, self._thresholds, limit))

    @classmethod
    def from_results(cls, predictions, ground_truth, image_ids=None, category_ids=None, min_area=0.0):
        """As :func:`~detdiffusion.evaluation.detection.evaluate_detection` takes them."""
        return cls(coco_eval(predictions, ground_truth, image_ids, category_ids, min_area))

    def ap(self, weights: np.ndarray | None = None) -> float:
        """COCO AP with image i counted ``weights[i]`` times.

        Args:
            weights: (I,) non-negative integers; None counts each image once.

        Returns:
            AP in [0, 1], -1 if no object is left.
        """
        weights = np.ones(len(self.image_ids), dtype=np.int64) if weights is None else np.asarray(weights)
        values = [self._class_ap(matches, weights) for matches in self._classes]
        values = [value for value in values if value is not None]
        return float(np.mean(values)) if values else -1.0

    def _class_ap(self, matches: _ClassMatches, weights: np.ndarray) -> float | None:
        n_objects = int(matches.objects @ weights)
        if n_objects == 0:
            return None
        weight = weights[matches.image].astype(np.float64)
        present = weight > 0
        if not present.any():
            return 0.0
        weight = weight[present]
        true = np.cumsum(matches.true[:, present] * weight, axis=1)
        false = np.cumsum(matches.false[:, present] * weight, axis=1)
        precision = true / (true + false + np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        # count of true positives at which each recall threshold is reached: integers, so offsets stay exact
        needed = np.searchsorted(np.arange(n_objects + 1) / n_objects, self._recalls, side="left")
        width = true.shape[1]
        rows = np.arange(self._thresholds)[:, None] * (n_objects + 1.0)
        first = np.searchsorted((true + rows).ravel(), (needed[None] + rows).ravel(), side="left")
        first = first.reshape(self._thresholds, -1) - np.arange(self._thresholds)[:, None] * width
        padded = np.concatenate([precision, np.zeros((self._thresholds, 1))], axis=1)
        return float(np.take_along_axis(padded, np.clip(first, 0, width), axis=1).mean())


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
    rng = np.random.default_rng(seed)
    differences = np.empty(resamples)
    for r in range(resamples):
        counts = np.bincount(rng.integers(0, len(order), len(order)), minlength=len(order))
        differences[r] = a.ap(counts[index_a]) - b.ap(counts[index_b])
    tail = (1 - level) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    ap_a, ap_b = a.ap(), b.ap()
    return BootstrapResult(
        ap_a=ap_a,
        ap_b=ap_b,
        difference=ap_a - ap_b,
        mean=float(differences.mean()),
        low=float(low),
        high=float(high),
        share_above_zero=float((differences > 0).mean()),
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


def _class_matches(cells: Sequence[dict | None], thresholds: int, limit: int) -> _ClassMatches:
    objects = np.zeros(len(cells), dtype=np.int64)
    images, scores, true, false = [], [], [], []
    for i, cell in enumerate(cells):
        if cell is None:
            continue
        objects[i] = int(np.count_nonzero(np.asarray(cell["gtIgnore"]) == 0))
        score = np.asarray(cell["dtScores"])[:limit]
        matched = np.asarray(cell["dtMatches"])[:, :limit].astype(bool)
        counted = ~np.asarray(cell["dtIgnore"])[:, :limit].astype(bool)
        images.append(np.full(len(score), i))
        scores.append(score)
        true.append(matched & counted)
        false.append(~matched & counted)
    if not images:
        empty = np.zeros((thresholds, 0))
        return _ClassMatches(np.zeros(0, dtype=np.int64), empty, empty, objects)
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    return _ClassMatches(
        image=np.concatenate(images)[order].astype(np.int64),
        true=np.concatenate(true, axis=1)[:, order].astype(np.float64),
        false=np.concatenate(false, axis=1)[:, order].astype(np.float64),
        objects=objects,
    )
