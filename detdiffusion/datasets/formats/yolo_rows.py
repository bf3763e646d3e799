"""Rows of YOLO label files: detect which of Ultralytics' tasks they are for, and read the box or polygon of a row.

=========== ================================================= =======================================
task        columns                                           read as
=========== ================================================= =======================================
all         ``class cx cy w h``                               box
detect      a box and further columns (confidence, track id)  box, the rest is not read
pose        a box and ``kpt_shape`` key points                box, the key points are not read
segment     ``class x1 y1 x2 y2 x3 y3 ...``                   polygon and the upright box around it;
                                                              oriented boxes (OBB) are four such points
=========== ================================================= =======================================

All coordinates are normalised by the image's width and height.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from detdiffusion.utils.errors import UserError

TASKS = ("auto", "detect", "segment", "pose")

COMMAS = "line with commas between its columns, where YOLO has spaces: left out"
NO_ROW = "line that is not 'class cx cy w h' or a class and a polygon: left out"
NO_POSE = "line that is neither a box nor a box with the key points of kpt_shape: left out"
OUTSIDE = "line with a value outside [0, 1] (in pixels?): left out"
LONG_BOX = "columns behind a box (key points, confidence, track id): not read"
FOUR_POINTS = "line of four points, an oriented box (OBB) or a polygon: the upright box around it is taken"

# Sums of rounded values exceed [0, 1] by a few parts in a million.
_TOLERANCE = 1e-4
# Key points may be slightly outside of their object's box.
_MARGIN = 0.1
_BOX = 5  # columns


def numbers(line: str) -> list[float] | str:
    """Parse the numbers of a line; returns a description of the problem if it cannot be parsed."""
    for text, defect in ((line, None), (line.replace(",", " ").replace(";", " "), COMMAS)):
        try:
            values = [float(part) for part in text.split()]
        except ValueError:
            continue
        if len(values) >= _BOX and all(map(math.isfinite, values)):
            return defect or values
    return NO_ROW


def key_point_columns(kpt_shape: object, where: str) -> int | None:
    """Return the number of columns that key points take in a row; None if there are no key points.

    Raises:
        UserError: if ``kpt_shape`` is not ``[points, 2 or 3]``.
    """
    if kpt_shape is None:
        return None
    good = (
        isinstance(kpt_shape, list)
        and len(kpt_shape) == 2
        and all(type(n) is int and n > 0 for n in kpt_shape)
    )
    if not good or kpt_shape[1] not in (2, 3):
        raise UserError(f"{where}: 'kpt_shape' must be [number of points, 2 or 3], it is {kpt_shape!r}")
    return kpt_shape[0] * kpt_shape[1]


def read_row(
    values: Sequence[float], task: str, key_points: int | None
) -> tuple[list[float], str | None] | str:
    """Read the box or polygon of a row.

    Args:
        values: all columns of the row, five or more.
        task: 'detect', 'pose' or 'segment'.
        key_points: number of key point columns, for 'pose'; None accepts any number.

    Returns:
        ``(coordinates, remark)``: cx, cy, w, h of a box or x1, y1, x2, y2, ... of a polygon, and a remark to count or
        None; or, if the row cannot be read, a string with the reason.
    """
    count = len(values)
    if task == "segment" and count > _BOX:
        if not _is_polygon(count):
            return NO_ROW
        shares, remark = values[1:], None
    else:
        if task == "pose" and count > _BOX and key_points not in (None, count - _BOX):
            return NO_POSE
        shares = values[1:_BOX]
        remark = LONG_BOX if count > _BOX else None
    return (list(shares), remark) if _shares(shares) else OUTSIDE


@dataclass
class Survey:
    """Statistics of all rows with more than five columns, to infer the task of a data set.

    Polygons vary in length; rows with key points, or with a confidence and a track id, have the same length. If all
    rows have the same length and each could be a polygon as well as a box with further columns, the user must decide.
    """

    polygons: Counter = field(default_factory=Counter)
    others: Counter = field(default_factory=Counter)
    rivals: int = 0
    upright: int = 0
    first: str = ""

    def add(self, values: Sequence[float], where: str) -> None:
        """Add a row to the statistics."""
        count = len(values)
        if count == _BOX:
            return
        if not (_is_polygon(count) and _shares(values[1:])):
            self.others[count] += 1
            return
        self.first = self.first or where
        self.polygons[count] += 1
        if len(self.polygons) > 1:  # already known to be polygons
            return
        self.rivals += _is_box_with_more(values)
        self.upright += count == 9 and _is_parallelogram(values[1:])

    @property
    def four_points(self) -> bool:
        """Whether all polygons have four points, like oriented boxes."""
        return set(self.polygons) == {9}

    def task(self) -> str:
        """Return the task of the data set; 'segment' if all rows have five columns.

        Raises:
            UserError: if the rows are ambiguous.
        """
        total = self.polygons.total()
        if total == 0 or len(self.polygons) > 1 or self.rivals < total or self.upright == total:
            return "segment"
        (count,) = self.polygons
        raise UserError(
            f"{self.first}: {count} columns, as in all {total} lines of more than five, may be a polygon of "
            f"{count // 2} points or a box with {count - _BOX} more columns (key points, confidence and track id); "
            "specify `task` segment, pose or detect, or kpt_shape in DATA.yaml"
        )

    def advice(self) -> str:
        """Return a hint about rows that fit no task, to append to a message."""
        if not self.others:
            return ""
        columns = ", ".join(map(str, sorted(self.others)))
        return (
            f"; lines of {columns} columns do not fit: if they are boxes with further columns (confidence, track id, "
            "key points), `task` detect reads the boxes"
        )


def _is_polygon(count: int) -> bool:
    return count >= 7 and count % 2 == 1


def _shares(values: Sequence[float]) -> bool:
    return min(values) >= -_TOLERANCE and max(values) <= 1 + _TOLERANCE


def _is_box_with_more(values: Sequence[float]) -> bool:
    cx, cy, w, h = values[1:_BOX]
    low, high = (cx - w / 2, cy - h / 2), (cx + w / 2, cy + h / 2)
    if w <= 0 or h <= 0 or not _shares((*low, *high)):
        return False
    more = np.array(values[_BOX:])
    if len(more) == 2 and float(more[1]).is_integer():  # confidence and track id
        return True
    margin = _MARGIN * np.array([w, h])
    low, high = low - margin, high + margin
    for size in (2, 3):
        if len(more) % size:
            continue
        points = more.reshape(-1, size)
        unlabelled = (points[:, :2] == 0).all(1)
        inside = ((points[:, :2] >= low) & (points[:, :2] <= high)).all(1)
        if (unlabelled | inside).all() and (size == 2 or np.isin(points[:, 2], (0, 1, 2)).all()):
            return True
    return False


def _is_parallelogram(shares: Sequence[float]) -> bool:
    a, b, c, d = np.reshape(shares, (4, 2))
    return bool(np.abs(a + c - b - d).max() < 1e-3)
