"""Perception-aware attributes: Equation 2 of the paper for a whole data set at once.

An object is *easy* if any prediction with score > gamma overlaps its box with IoU > beta (both strict), else
*hard*; *background* if the detector has no name for its class. Matching is class-agnostic as in the paper;
the class-aware form only lets predictions of the object's own category count.

Shapes: G ground-truth boxes, P predictions, over all images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from detdiffusion.structures.layout import ATTRIBUTES

from .levels import Levels
from .predictions import Predictions

# Faster R-CNN's gamma; the paper states neither value (0.25 is usual for YOLOv4).
SCORE_THR = 0.3
IOU_THR = 0.5

CROWD = "crowd: a group has no attribute"
IGNORE = "marked 'ignore': no attribute"

_PAIRS_AT_ONCE = 1 << 20


@dataclass
class AttributeResult:
    """Attributes of one data set.

    Attributes:
        attributes: annotation id -> 'easy' | 'hard' | 'background', or a level and 'background'.
        scores: annotation id -> continuous score in [0, 1]: the highest IoU * score of any prediction, before
            both thresholds; only ids that are not 'background'.
        skipped: reason -> number of annotations without an attribute (crowds, ignore).
        words: the vocabulary, the easiest first, 'background' last.
    """

    attributes: dict[int, str]
    scores: dict[int, float]
    skipped: dict[str, int] = field(default_factory=dict)
    words: tuple[str, ...] = ATTRIBUTES

    @property
    def counts(self) -> dict[str, int]:
        """Number of objects with each attribute."""
        counted = Counter(self.attributes.values())
        return {name: counted[name] for name in self.words}


def best_matches(
    gt_boxes: np.ndarray,
    gt_images: np.ndarray,
    pred_boxes: np.ndarray,
    pred_scores: np.ndarray,
    pred_images: np.ndarray,
    *,
    score_thr: float = SCORE_THR,
    gt_labels: np.ndarray | None = None,
    pred_labels: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The best overlap of every ground-truth box with the predictions of its image.

    Args:
        gt_boxes: (G, 4) float, xyxy in pixels.
        gt_images: (G,) int, image of each box.
        pred_boxes: (P, 4) float, xyxy in pixels.
        pred_scores: (P,) float in [0, 1].
        pred_images: (P,) int.
        score_thr: gamma; only predictions with a greater score count for the first result.
        gt_labels, pred_labels: (G,) and (P,) int; where given, only pairs of equal label count.

    Returns:
        ``(best_iou, best_product)``, both (G,) float64: the highest IoU with a prediction above
        ``score_thr``, and the highest IoU * score over all predictions; 0 where there is none.
    """
    order = np.argsort(pred_images, kind="stable")
    pred_boxes = np.asarray(pred_boxes, np.float64).reshape(-1, 4)[order]
    pred_scores = np.asarray(pred_scores, np.float64)[order]
    pred_images = np.asarray(pred_images)[order]
    pred_labels = None if pred_labels is None else np.asarray(pred_labels)[order]
    gt_boxes = np.asarray(gt_boxes, np.float64).reshape(-1, 4)

    first = np.searchsorted(pred_images, gt_images, side="left")
    partners = np.searchsorted(pred_images, gt_images, side="right") - first
    best_iou, best_product = np.zeros(len(gt_boxes)), np.zeros(len(gt_boxes))
    with_partners = np.flatnonzero(partners)
    # Chunks of whole boxes with a bounded number of (box, prediction) pairs keep the memory small.
    chunk_of = np.cumsum(partners[with_partners]) // _PAIRS_AT_ONCE
    for rows in np.split(with_partners, np.flatnonzero(np.diff(chunk_of)) + 1):
        if not len(rows):
            continue
        counts = partners[rows]
        starts = np.cumsum(counts) - counts
        pair_gt = np.repeat(rows, counts)
        pair_pred = np.repeat(first[rows] - starts, counts) + np.arange(counts.sum())
        iou = paired_iou(gt_boxes[pair_gt], pred_boxes[pair_pred])
        if gt_labels is not None:
            iou *= np.asarray(gt_labels)[pair_gt] == pred_labels[pair_pred]
        scores = pred_scores[pair_pred]
        best_iou[rows] = np.maximum.reduceat(np.where(scores > score_thr, iou, 0.0), starts)
        best_product[rows] = np.maximum.reduceat(iou * scores, starts)
    return best_iou, best_product


def paired_iou(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """IoU of (N, 4) with (N, 4) xyxy boxes, row by row; 0 for boxes without area. Returns (N,) float64."""
    size = np.minimum(boxes1[:, 2:], boxes2[:, 2:]) - np.maximum(boxes1[:, :2], boxes2[:, :2])
    intersection = np.prod(np.maximum(size, 0), axis=1)
    areas = np.prod(boxes1[:, 2:] - boxes1[:, :2], axis=1) + np.prod(boxes2[:, 2:] - boxes2[:, :2], axis=1)
    union = areas - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def perception_attributes(
    annotations: Sequence[dict],
    predictions: Predictions,
    nameable: Collection[int],
    *,
    score_thr: float = SCORE_THR,
    iou_thr: float = IOU_THR,
    class_aware: bool = False,
    levels: Levels | None = None,
) -> AttributeResult:
    """Equation 2 for COCO annotations, or its continuous form in levels.

    Crowds and annotations marked ``ignore`` get no attribute: a box around a group cannot be found by one
    prediction, and the layout filter drops crowds anyway. They are counted in ``skipped``.

    Args:
        annotations: validated dicts (:func:`detdiffusion.datasets.coco_json.read_coco`) with unique ids.
        predictions: of the images of the annotations.
        nameable: category ids that the detector has a name for; objects of others are 'background'.
        score_thr: gamma, strict.
        iou_thr: beta, strict.
        class_aware: only predictions of the object's own category count.
        levels: levels of difficulty by the continuous score in place of 'easy' and 'hard'; both thresholds are
            then unused.

    Returns:
        An attribute for every annotation that is neither crowd nor ignored, in the annotations' order.
    """
    skipped = {CROWD: 0, IGNORE: 0}
    objects = []
    for annotation in annotations:
        if annotation.get("iscrowd"):
            skipped[CROWD] += 1
        elif annotation.get("ignore"):
            skipped[IGNORE] += 1
        else:
            objects.append(annotation)
    nameable = set(nameable)
    known = np.fromiter((a["category_id"] in nameable for a in objects), bool, len(objects))
    rows = np.flatnonzero(known)
    boxes = np.array([objects[i]["bbox"] for i in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    images = np.fromiter((objects[i]["image_id"] for i in rows), np.int64, len(rows))
    labels = np.fromiter((objects[i]["category_id"] for i in rows), np.int64, len(rows))
    best_iou, products = best_matches(
        boxes,
        images,
        predictions.boxes,
        predictions.scores,
        predictions.image_ids,
        score_thr=score_thr,
        gt_labels=labels if class_aware else None,
        pred_labels=predictions.category_ids if class_aware else None,
    )
    words = np.full(len(objects), "background", dtype=object)
    if levels is None:
        words[rows] = np.where(best_iou > iou_thr, "easy", "hard")
    else:
        words[rows] = levels.words_of(products)
    return AttributeResult(
        attributes={a["id"]: word for a, word in zip(objects, words.tolist())},
        scores={objects[i]["id"]: float(value) for i, value in zip(rows, products)},
        skipped={reason: count for reason, count in skipped.items() if count},
        words=ATTRIBUTES if levels is None else (*levels.names, "background"),
    )
