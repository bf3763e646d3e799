"""Matching of predictions with annotated boxes, vectorised over all images of a set.

:func:`best_matches` finds the best overlap of each object with any prediction (Equation 2); :func:`one_to_one` assigns
predictions to objects one to one (quality gate).

Shapes: G ground-truth boxes, P predictions, over all images.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Default gamma, for Faster R-CNN; the paper does not give a value (0.25 is common for YOLOv4).
SCORE_THR = 0.3

_PAIRS_AT_ONCE = 1 << 20


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
    """Return the best overlap of every ground-truth box with the predictions of its image.

    Args:
        gt_boxes: (G, 4) float, xyxy in pixels.
        gt_images: (G,) int, image of each box.
        pred_boxes: (P, 4) float, xyxy in pixels.
        pred_scores: (P,) float in [0, 1].
        pred_images: (P,) int.
        score_thr: gamma; only predictions with a greater score count for the first result.
        gt_labels, pred_labels: (G,) and (P,) int; if given, only pairs of equal labels are considered.

    Returns:
        ``(best_iou, best_product)``, both (G,) float64: the highest IoU with a prediction above
        ``score_thr``, and the highest IoU * score over all predictions; 0 without any prediction.
    """
    gt_boxes = np.asarray(gt_boxes, np.float64).reshape(-1, 4)
    pred_boxes = np.asarray(pred_boxes, np.float64).reshape(-1, 4)
    pred_scores = np.asarray(pred_scores, np.float64)
    best_iou, best_product = np.zeros(len(gt_boxes)), np.zeros(len(gt_boxes))
    for rows, starts, pair_gt, pair_pred in _pairs(gt_images, pred_images):
        iou = paired_iou(gt_boxes[pair_gt], pred_boxes[pair_pred])
        if gt_labels is not None:
            iou *= np.asarray(gt_labels)[pair_gt] == np.asarray(pred_labels)[pair_pred]
        scores = pred_scores[pair_pred]
        best_iou[rows] = np.maximum.reduceat(np.where(scores > score_thr, iou, 0.0), starts)
        best_product[rows] = np.maximum.reduceat(iou * scores, starts)
    return best_iou, best_product


def one_to_one(
    gt_boxes: np.ndarray,
    gt_images: np.ndarray,
    gt_labels: np.ndarray,
    pred_boxes: np.ndarray,
    pred_images: np.ndarray,
    pred_labels: np.ndarray,
    min_iou: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Match predictions and objects of equal labels one to one, greedily by descending IoU.

    Args:
        gt_boxes, pred_boxes: (G, 4) and (P, 4) float, xyxy in pixels.
        gt_images, pred_images: (G,) and (P,) int.
        gt_labels, pred_labels: (G,) and (P,) int.
        min_iou: minimum IoU of a match, above 0.

    Returns:
        ``(match, iou)``, both (G,): the prediction's index or -1, and the IoU with it or 0.
    """
    gt_boxes = np.asarray(gt_boxes, np.float64).reshape(-1, 4)
    pred_boxes = np.asarray(pred_boxes, np.float64).reshape(-1, 4)
    gt_labels, pred_labels = np.asarray(gt_labels), np.asarray(pred_labels)
    found = []
    for _, _, pair_gt, pair_pred in _pairs(gt_images, pred_images):
        same = gt_labels[pair_gt] == pred_labels[pair_pred]
        pair_gt, pair_pred = pair_gt[same], pair_pred[same]
        iou = paired_iou(gt_boxes[pair_gt], pred_boxes[pair_pred])
        near = iou >= min_iou
        found.append((pair_gt[near], pair_pred[near], iou[near]))
    match, overlap = np.full(len(gt_boxes), -1, np.int64), np.zeros(len(gt_boxes))
    if not found:
        return match, overlap
    all_gt, all_pred, all_iou = (np.concatenate(column) for column in zip(*found))
    taken = np.zeros(len(pred_boxes), bool)
    for pair in np.argsort(-all_iou, kind="stable").tolist():
        gt, pred = all_gt[pair], all_pred[pair]
        if match[gt] < 0 and not taken[pred]:
            match[gt], overlap[gt], taken[pred] = pred, all_iou[pair], True
    return match, overlap


def paired_iou(boxes1: np.ndarray, boxes2: np.ndarray) -> np.ndarray:
    """Return the (N,) float64 IoU of (N, 4) and (N, 4) xyxy boxes, row by row; 0 for boxes without area."""
    size = np.minimum(boxes1[:, 2:], boxes2[:, 2:]) - np.maximum(boxes1[:, :2], boxes2[:, :2])
    intersection = np.prod(np.maximum(size, 0), axis=1)
    areas = np.prod(boxes1[:, 2:] - boxes1[:, :2], axis=1) + np.prod(boxes2[:, 2:] - boxes2[:, :2], axis=1)
    union = areas - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def _pairs(
    gt_images: np.ndarray, pred_images: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield all pairs of an object and a prediction of the same image, in chunks of bounded size to limit memory.

    Yields:
        ``(rows, starts, pair_gt, pair_pred)``: the objects of the chunk that have pairs, the index of each object's
        first pair, and the two indices of every pair.
    """
    order = np.argsort(pred_images, kind="stable")
    sorted_images = np.asarray(pred_images)[order]
    first = np.searchsorted(sorted_images, gt_images, side="left")
    partners = np.searchsorted(sorted_images, gt_images, side="right") - first
    with_partners = np.flatnonzero(partners)
    chunk_of = np.cumsum(partners[with_partners]) // _PAIRS_AT_ONCE
    for rows in np.split(with_partners, np.flatnonzero(np.diff(chunk_of)) + 1):
        if not len(rows):
            continue
        counts = partners[rows]
        starts = np.cumsum(counts) - counts
        pair_pred = np.repeat(first[rows] - starts, counts) + np.arange(counts.sum())
        yield rows, starts, np.repeat(rows, counts), order[pair_pred]
