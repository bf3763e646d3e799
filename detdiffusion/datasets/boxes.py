"""Checks of a COCO json's boxes against their images: single invalid boxes, and files in the wrong unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .finding_log import FindingLog

NOT_FINITE = "box with a value that is not finite"
ZERO_SIZE = "box of zero or negative size"
OUTSIDE = "box outside its image"
CLIPPED = "box reaches over its image's border"
RELATIVE = "box with values from 0 to 1 only, as if relative to the image's size"
_DEFECTS = (None, NOT_FINITE, ZERO_SIZE, OUTSIDE, CLIPPED)

SKIPPED, CUT, KEPT = "skipped", "clipped", "kept as pixels"

# Boxes in COCO's own files exceed the border by rounding (to two decimals); these are clipped silently.
BORDER_TOLERANCE = 0.5
_FAR = 0.1  # share of the image's side; more than rounding can explain
# A normalised box has its centre in the image and is no larger than it, so its numbers, corners or sides, exceed [0, 1]
# by at most half a side. In pixels such numbers would be a box of one pixel in the upper left corner.
NORMALISED = (-0.5, 1.5)
_SMALLEST_IMAGE = 8  # pixels; in a smaller image such a box may be correct


def looks_normalised(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return which boxes have values too small for pixels, so that they are probably normalised by the image's size.

    Args:
        boxes: (N, 4) float64, finite; xyxy, or x, y, width, height.
        sizes: (N, 2) or (2,), the images' sides in pixels.

    Returns:
        (N,) bool.
    """
    low, high = NORMALISED
    return (boxes >= low).all(-1) & (boxes <= high).all(-1) & (np.min(sizes, axis=-1) >= _SMALLEST_IMAGE)


def all_look_normalised(boxes: np.ndarray, sizes: np.ndarray) -> bool:
    """Return whether all boxes look normalised, see :func:`looks_normalised`; rows of zeros are ignored as padding."""
    rows = boxes.any(1)
    return bool(rows.any() and (looks_normalised(boxes, sizes) | ~rows).all())


def clean_boxes(boxes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clip boxes to their images and classify their defects.

    Args:
        boxes: (N, 4) float64, x, y, width, height in pixels.
        sizes: (N, 2) width and height of the images.

    Returns:
        ``(clean, defects)``: (N, 4) float64 clipped boxes, and (N,) uint8: 0 for none, 1 not finite, 2 zero or
        negative size, 3 outside the image, 4 clipped by more than rounding. Rows with defects 1 to 3 are unusable.
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
    """Apply :func:`clean_boxes` to one box.

    Args:
        bbox: x, y, width, height in pixels.
        size: width and height of the image.

    Returns:
        ``(box, defect)``: the clipped box, or None if it is unusable; the defect's description, or None.
    """
    clean, defects = clean_boxes(np.array([bbox], np.float64), np.array([size], np.float64))
    defect = _DEFECTS[defects[0]]
    return None if defect not in (None, CLIPPED) else clean[0].tolist(), defect


def log_defects(defects: np.ndarray, ids: Sequence[int], log: FindingLog) -> None:
    """Log the defects that :func:`clean_boxes` found."""
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
    """Detect files whose boxes are normalised, are given as two corners, or belong to images of another size.

    Args:
        boxes: (N, 4) float64 as in the file.
        sizes: (N, 2) width and height of the images.
        ids: annotation ids.
        log: receives the findings.
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
        log.add("every box has values from 0 to 1 only: they look normalised", remedy=remedy, **first)
        return
    if relative.any():
        keys = [ids[row] for row in rows[relative][:5]]
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
