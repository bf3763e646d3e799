"""COCO segmentations as pixel masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from detdiffusion.utils.errors import UserError


def decode_segmentation(segmentation: Any, height: int, width: int, where: str) -> np.ndarray:
    """A mask of polygons, compressed or uncompressed RLE.

    Args:
        segmentation: as COCO json files hold it.
        height, width: of the image in pixels.
        where: the image or annotation, for messages.

    Returns:
        (height, width) uint8, 1 inside.

    Raises:
        UserError: neither of the three forms, numbers that are no outline, or a mask of another size.
    """
    try:
        if isinstance(segmentation, list):
            if not segmentation or any(len(p) < 6 or len(p) % 2 for p in segmentation):
                raise ValueError("a polygon wants three points or more, x and y in turn")
            if not np.isfinite(np.concatenate([np.asarray(p, np.float64) for p in segmentation])).all():
                raise ValueError("a polygon with a value that is not finite")
            return mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width)))
        counts, size = segmentation["counts"], tuple(int(side) for side in segmentation["size"])
        total = _uncompressed_total(counts) if isinstance(counts, list) else _compressed_total(counts)
        if total != size[0] * size[1]:  # pycocotools leaves the rest of the mask as the memory was
            raise ValueError(f"its runs are {total} pixels long in all, {size[0]} x {size[1]} are wanted")
        if size == (height, width):
            rle = mask_utils.frPyObjects(segmentation, *size) if isinstance(counts, list) else segmentation
            return mask_utils.decode(rle)
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


def _compressed_total(counts: str | bytes) -> int:
    """Sum of the runs of COCO's compressed RLE.

    A number takes groups of five bits, lowest first, as characters from 48 on; bit 5 says that more follow, bit 4 of
    the last is the sign. From the fourth number on it is the difference to the one two before (pycocotools,
    ``maskApi.c``).
    """
    text = counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    groups = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    if not len(groups):
        return 0
    last = (groups & 0x20) == 0
    if not last[-1] or groups.min() < 0 or groups.max() > 0x3F:
        raise ValueError("cut off, or characters that do not belong there")
    ends = np.flatnonzero(last)
    starts = np.r_[0, ends[:-1] + 1]
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, ends - starts + 1))
    if shifts.max() > 40:
        raise ValueError("a run that is too long")
    numbers = np.add.reduceat((groups & 0x1F) << shifts, starts)
    numbers[(groups[ends] & 0x10) > 0] -= 1 << (shifts[ends][(groups[ends] & 0x10) > 0] + 5)
    runs = numbers.copy()
    runs[1::2] = np.cumsum(numbers[1::2])
    runs[2::2] = np.cumsum(numbers[2::2])
    if (runs < 0).any():
        raise ValueError("a run of negative length")
    return int(runs.sum())
