"""Does an image show its layout? Prompted objects found, how well they are placed, and what else is there.

Predictions above a score are matched to prompted objects of their class one to one, by falling score, each to the
free object that it overlaps most (at least an IoU of ``iou_thr``), as COCO does. Ignored regions (crowds; the
objects of a real image that were not prompted) make a prediction on them neither right nor extra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SIZE_EDGES = (0.05, 0.2)
"""Shares of the image's area that divide small, medium and large objects; layouts start at 2 %."""


@dataclass
class ObjectMatches:
    """One row a prompted object of a set, N in all, and one a prediction that matched none.

    Attributes:
        image_ids, category_ids: (N,) int64.
        source_ids: (N,) int64 id of the annotation that the object was prompted from, -1 if unknown.
        area: (N,) share of the image's area.
        found: (N,) bool.
        iou: (N,) IoU with the matched prediction, nan where not found.
        offset: (N,) distance of the centres over the object's diagonal, nan where not found.
        score: (N,) highest score of any prediction of its class that overlaps it, whatever the score; 0 for none.
        extra_images, extra_categories: (M,) predictions that matched no object.
    """

    image_ids: np.ndarray
    category_ids: np.ndarray
    source_ids: np.ndarray
    area: np.ndarray
    found: np.ndarray
    iou: np.ndarray
    offset: np.ndarray
    score: np.ndarray
    extra_images: np.ndarray
    extra_categories: np.ndarray


def match_objects(
    predictions: Sequence[Mapping], truth: Mapping, score_thr: float = 0.3, iou_thr: float = 0.5
) -> ObjectMatches:
    """Matches COCO results to a COCO ground truth of prompted objects.

    Args:
        predictions: ``image_id``, ``category_id``, ``bbox`` xywh, ``score``; other images and categories are left
            out.
        truth: COCO dict; ``iscrowd`` marks ignored regions.
        score_thr: predictions above it count (strict).
        iou_thr: least overlap of a match.
    """
    size = {image["id"]: image["width"] * image["height"] for image in truth["images"]}
    categories = {category["id"] for category in truth["categories"]}
    objects: dict[tuple[int, int], list[Mapping]] = {}
    for annotation in truth["annotations"]:
        objects.setdefault((annotation["image_id"], annotation["category_id"]), []).append(annotation)
    guesses: dict[tuple[int, int], list[Mapping]] = {}
    for guess in predictions:
        if guess["image_id"] in size and guess["category_id"] in categories:
            guesses.setdefault((guess["image_id"], guess["category_id"]), []).append(guess)
    rows: list[tuple] = []
    extra: list[tuple[int, int]] = []
    for key in sorted({*objects, *guesses}):
        cell_rows, n_extra = _match_cell(objects.get(key, []), guesses.get(key, []), score_thr, iou_thr)
        rows += [(*key, *row[:1], row[1] / size[key[0]], *row[2:]) for row in cell_rows]
        extra += [key] * n_extra
    columns = list(zip(*rows)) if rows else [()] * 8
    kinds = (np.int64, np.int64, np.int64, np.float64, bool, np.float64, np.float64, np.float64)
    extras = np.array(extra, np.int64).reshape(-1, 2)
    return ObjectMatches(*(np.array(c, k) for c, k in zip(columns, kinds)), extras[:, 0], extras[:, 1])


def _match_cell(objects, guesses, score_thr: float, iou_thr: float) -> tuple[list[tuple], int]:
    """Objects and predictions of one class in one image: rows of the objects, number of extra predictions."""
    real = [o for o in objects if not o.get("iscrowd")]
    ignored = [o for o in objects if o.get("iscrowd")]
    guesses = sorted(guesses, key=lambda g: -g["score"])
    boxes = _boxes(real)
    found_boxes = _boxes(guesses)
    iou = _iou(found_boxes, boxes)  # (predictions, objects)
    inside = _inside(found_boxes, _boxes(ignored))
    partner = np.full(len(real), -1)
    n_extra = 0
    for k, guess in enumerate(guesses):
        if guess["score"] <= score_thr:
            break
        free = np.where(partner < 0, iou[k], -1.0)
        best = int(free.argmax()) if len(real) else -1
        if best >= 0 and free[best] >= iou_thr:
            partner[best] = k
        elif not (len(ignored) and inside[k].max() >= iou_thr):
            n_extra += 1
    scores = np.array([g["score"] for g in guesses])
    rows = []
    for j, one in enumerate(real):
        k = partner[j]
        overlapping = scores[iou[:, j] >= iou_thr] if len(guesses) else scores
        w, h = one["bbox"][2:]
        offset = np.nan
        if k >= 0:
            centre = (boxes[j, :2] + boxes[j, 2:]) / 2 - (found_boxes[k, :2] + found_boxes[k, 2:]) / 2
            offset = float(np.hypot(*centre) / np.hypot(w, h))
        rows.append(
            (
                one.get("source_annotation_id", one.get("id", -1)),
                w * h,
                k >= 0,
                float(iou[k, j]) if k >= 0 else np.nan,
                offset,
                float(overlapping.max()) if len(overlapping) else 0.0,
            )
        )
    return rows, n_extra


def _boxes(items: Sequence[Mapping]) -> np.ndarray:
    boxes = np.array([item["bbox"] for item in items], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    both = _overlap(a, b)
    areas = [(x[:, 2:] - x[:, :2]).prod(axis=1) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None] - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def _inside(a: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Share of each box in ``a`` that lies in each region, COCO's overlap with crowds."""
    area = (a[:, 2:] - a[:, :2]).prod(axis=1)[:, None]
    both = _overlap(a, regions)
    return np.divide(both, area, out=np.zeros_like(both), where=area > 0)


def consistency_report(
    matches: ObjectMatches, truth: Mapping, size_edges: Sequence[float] = SIZE_EDGES
) -> dict:
    """What a set's matches say, over all objects, by class and by size.

    Args:
        matches: of :func:`match_objects`.
        truth: its ground truth.
        size_edges: two shares of the image's area.

    Returns:
        ``all``, ``by_size`` (small, medium, large) and ``by_class`` with ``objects``, ``found`` (share), ``mean_iou``
        and ``centre_offset`` of the found ones (None without), ``mean_score``; ``counts`` with ``images``,
        ``missing_per_image``, ``extra_per_image`` and ``images_with_exact_counts`` (share of the images with neither).
    """
    names = {category["id"]: category["name"] for category in truth["categories"]}
    image_ids = [image["id"] for image in truth["images"]]
    low, high = size_edges
    bins = {
        "small": matches.area < low,
        "medium": (matches.area >= low) & (matches.area < high),
        "large": matches.area >= high,
    }
    missing = {i: 0 for i in image_ids}
    extra = dict(missing)
    for image, found in zip(matches.image_ids.tolist(), matches.found.tolist()):
        missing[image] += not found
    for image in matches.extra_images.tolist():
        extra[image] += 1
    n = max(1, len(image_ids))
    by_class = {}
    for key, name in names.items():
        which = matches.category_ids == key
        extras = int((matches.extra_categories == key).sum())
        if which.any() or extras:
            by_class[name] = dict(_row(matches, which), extra_per_image=extras / n)
    return {
        "all": _row(matches, np.ones(len(matches.found), bool)),
        "by_size": {name: _row(matches, which) for name, which in bins.items()},
        "by_class": by_class,
        "counts": {
            "images": len(image_ids),
            "missing_per_image": sum(missing.values()) / n,
            "extra_per_image": sum(extra.values()) / n,
            "images_with_exact_counts": sum(not missing[i] and not extra[i] for i in image_ids) / n,
        },
        "size_edges": list(size_edges),
    }


def _row(matches: ObjectMatches, which: np.ndarray) -> dict:
    found = which & matches.found
    return dict(
        objects=int(which.sum()),
        found=float(matches.found[which].mean()) if which.any() else None,
        mean_iou=float(matches.iou[found].mean()) if found.any() else None,
        centre_offset=float(matches.offset[found].mean()) if found.any() else None,
        mean_score=float(matches.score[which].mean()) if which.any() else None,
    )
