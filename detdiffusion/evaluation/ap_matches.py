"""COCO AP of a list of images with repetitions, from matches that are made once.

Matching detections to objects happens inside an image, so it is done once. A repetition only gives an image a
multiplicity; AP is then re-accumulated with weighted counts. This is exactly the AP of the list: a repeated true
positive reaches its recall at a precision that the later repetition exceeds, and the precision envelope takes the
later one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools.cocoeval import COCOeval

from detdiffusion.evaluation.detection import coco_eval


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
    def from_results(
        cls,
        predictions: str | Path | Sequence[Mapping],
        ground_truth: str | Path | Mapping,
        image_ids: Iterable[int] | None = None,
        category_ids: Iterable[int] | None = None,
        min_area: float = 0.0,
    ) -> ApMatches:
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
