"""Conversion of COCO segmentations to pixel masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from detdiffusion.utils.errors import UserError

from .coco_tables import MAX_COORDINATE
from .rle import compressed_total


def decode_segmentation(segmentation: Any, height: int, width: int, where: str) -> np.ndarray:
    """Decode polygons, compressed or uncompressed RLE to a mask.

    Args:
        segmentation: a segmentation as in COCO json files.
        height, width: size of the image in pixels.
        where: the image or annotation, used in error messages.

    Returns:
        (height, width) uint8, 1 inside.

    Raises:
        UserError: if the segmentation has none of the three forms, its numbers are not an outline, or the mask differs
            in size from the image.
    """
    return mask_utils.decode(_run_lengths(segmentation, height, width, where))


def segmentation_area(segmentation: Any, height: int, width: int, where: str) -> float:
    """Return the area in pixels of the mask of :func:`decode_segmentation`, as computed by pycocotools.

    Raises:
        UserError: as :func:`decode_segmentation`.
    """
    return float(mask_utils.area(_run_lengths(segmentation, height, width, where)))


def _run_lengths(segmentation: Any, height: int, width: int, where: str) -> dict:
    try:
        if isinstance(segmentation, list):
            if not segmentation or any(len(p) < 6 or len(p) % 2 for p in segmentation):
                raise ValueError("a polygon needs at least three points, as x1, y1, x2, y2, ...")
            values = np.concatenate([np.asarray(p, np.float64) for p in segmentation])
            if not np.isfinite(values).all() or np.abs(values).max() > MAX_COORDINATE:
                raise ValueError("a polygon with a value that is not finite, or beyond a million pixels")
            return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
        counts, size = segmentation["counts"], tuple(int(side) for side in segmentation["size"])
        if isinstance(counts, list):
            total = _uncompressed_total(counts)
        else:
            total = compressed_total(counts.encode() if isinstance(counts, str) else bytes(counts))
        if total != size[0] * size[1]:  # pycocotools would leave the rest of the mask uninitialised
            raise ValueError(f"its runs add up to {total} pixels instead of {size[0]} x {size[1]}")
        if size == (height, width):
            return mask_utils.frPyObjects(segmentation, *size) if isinstance(counts, list) else segmentation
    except Exception as error:  # pycocotools raises bare Exceptions of several types
        raise UserError(f"{where}: a segmentation is neither polygons nor RLE ({error})") from error
    raise UserError(
        f"{where}: a mask of {size[0]} x {size[1]} pixels in an image of {height} x {width}; correct one of them"
    )


def _uncompressed_total(counts: list) -> int:
    runs = np.asarray(counts)
    if runs.dtype.kind not in "iu" or (runs < 0).any():
        raise ValueError("run lengths must be whole numbers from 0")
    return int(runs.sum())
