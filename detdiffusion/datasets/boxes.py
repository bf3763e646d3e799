"""Boxes of a COCO json against their images: single ones that are of no use, and whole files in another unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .finding_log import FindingLog

NOT_FINITE = "box with a value that is not finite"
ZERO_SIZE = "box of zero or negative size"
OUTSIDE = "box outside its image"
CLIPPED = "box reaches over its image's border"
RELATIVE = "box with values from 0 to 1 alone, as if relative to the image's size"
_DEFECTS = (None, NOT_FINITE, ZERO_SIZE, OUTSIDE, CLIPPED)

SKIPPED, CUT, KEPT = "skipped", "clipped", "kept as pixels"

# COCO's own files reach over the border by rounding (two decimals); that is clipped without a word.
BORDER_TOLERANCE = 0.5
_FAR = 0.1  # of the image's side: what no rounding explains
# A normalised box has its centre in the image and is no larger than it, so its numbers, corners or sides, leave [0, 1]
# by half a side at most. In pixels such numbers are a box of one pixel in the upper left corner.
NORMALISED = (-0.5, 1.5)
_SMALLEST_IMAGE = 8  # pixels: such a box may be right in a smaller one


def looks_normalised(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which boxes have numbers too small for pixels: shares of an image's sides, or nearly so.

    Args:
        boxes: (N, 4) float64, finite; xyxy, or x, y, width, height.
        sizes: (N, 2) or (2,), the images' sides in pixels.

    Returns:
        (N,) bool.
    """
    low, high = NORMALISED
    return (boxes >= low).all(-1) & (boxes <= high).all(-1) & (np.min(sizes, axis=-1) >= _SMALLEST_IMAGE)


def all_look_normalised(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    """Whether :func:`looks_normalised` holds for all of some boxes; rows of zeros are padding and tell nothing."""
    rows = boxes.any(1)
    return bool(rows.any() and (looks_normalised(boxes, sizes) | ~rows).all())


def clean_boxes(boxes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes inside their images.

    Args:
        boxes: (N, 4) float64, x, y, width, height in pixels.
        sizes: (N, 2) width and height of the images.

    Returns:
        ``(clean, defects)``: (N, 4) float64, and (N,) uint8: 0 for none, 1 not finite, 2 of no size, 3 outside, 4
        clipped by more than rounding. Rows with defects 1 to 3 are of no use.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        near, far = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        low, high = np.maximum(near, 0.0), np.minimum(far, sizes)
        moved = (low != near).any(1) | (high != far).any(1)
        over = np.maximum(low - near, far - high).max(1) if len(boxes) else np.zeros(0)
        defects = np.where(over > BORDER_TOLERANCE, 4, 0).astype(np.uint8)
        defects[(low >= high).any(1)] = 3
        defects[(boxes[:, 2:] <= 0).any(1)] = 2
        defects[~np.isfinite(boxes).all(1)] = 1
        clean = np.where(moved[:, None], np.hstack([low, high - low]), boxes)
    return clean, defects


def clean_box(bbox: Sequence[float], size: tuple[float, float]) -> tuple[list[float] | None, str | None]:
    """:func:`clean_boxes` of one.

    Returns:
        (the box, clipped where it reaches out, or None if nothing is left; what is wrong with it, or None).
    """
    clean, defects = clean_boxes(np.array([bbox], np.float64), np.array([size], np.float64))
    defect = _DEFECTS[defects[0]]
    return None if defect not in (None, CLIPPED) else clean[0].tolist(), defect


def log_defects(defects: np.ndarray, ids: Sequence[int], log: FindingLog) -> None:
    """Counts what :func:`clean_boxes` found."""
    for code in range(1, len(_DEFECTS)):
        rows = np.flatnonzero(defects == code)
        if len(rows):
            log.add(
                _DEFECTS[code],
                [ids[row] for row in rows[:5]],
                kind="annotation id",
                remedy=CUT if _DEFECTS[code] == CLIPPED else SKIPPED,
                severity="warning",
                count=len(rows),
            )


def check_unit(boxes: np.ndarray, sizes: np.ndarray, ids: Sequence[int], log: FindingLog) -> None:
    """Finds files whose boxes as a whole are in another unit, order or for images of another size.

    Args:
        boxes: (N, 4) float64 as the file has them.
        sizes: (N, 2) of the images.
        ids: of the annotations.
        log: gets the findings.
    """
    rows = np.flatnonzero(np.isfinite(boxes).all(1) & (boxes[:, 2:] > 0).all(1))
    if not len(rows):
        return
    boxes, sizes = boxes[rows], sizes[rows]
    first = dict(keys=[ids[rows[0]]], kind="annotation id", value=boxes[0].tolist(), count=len(rows))
    relative = looks_normalised(boxes, sizes)
    if relative.all():
        remedy = (
            "COCO boxes are pixels: multiply x and width by the image's width, y and height by its height"
        )
        log.add("every box has values from 0 to 1 alone: they look normalised", remedy=remedy, **first)
        return
    if relative.any():
        some = rows[relative]
        keys = [ids[row] for row in some[:5]]
        log.add(
            RELATIVE, keys, kind="annotation id", remedy=KEPT, severity="warning", count=int(relative.sum())
        )
    centre, far = boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:]
    away = ((centre < 0) | (centre > sizes)).any(1)
    if away.sum() * 2 > len(rows):
        remedy = "they belong to images of another size: compare 'width' and 'height' with the boxes' units"
        first.update(keys=[ids[rows[away.argmax()]]], value=boxes[away.argmax()].tolist())
        first.update(count=int(away.sum()))
        log.add(f"of {len(rows)} boxes these have their centre outside their image", remedy=remedy, **first)
        return
    reaching = (far > sizes * (1 + _FAR)).any(1)
    if len(rows) > 4 and (boxes[:, 2:] > boxes[:, :2]).all() and reaching.sum() * 4 > len(rows):
        first.update(keys=[ids[rows[reaching.argmax()]]], value=boxes[reaching.argmax()].tolist())
        first.update(count=int(reaching.sum()))
        log.add(
            f"of {len(rows)} boxes these reach far out of their image, and every one looks like two corners",
            remedy="COCO boxes are [x, y, width, height]: subtract the first corner from the second",
            **first,
        )
