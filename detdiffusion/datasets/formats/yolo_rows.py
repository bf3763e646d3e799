"""Rows of YOLO label files: which of Ultralytics' tasks a set was written for, and the box or polygon of one row.

=========== ================================================= =======================================
task        columns                                           read as
=========== ================================================= =======================================
all         ``class cx cy w h``                               box
detect      a box and whatever follows (confidence, track id) box, the rest is not read
pose        a box and ``kpt_shape`` key points                box, the key points are not read
segment     ``class x1 y1 x2 y2 x3 y3 ...``                   polygon and the upright box around it;
                                                              oriented boxes (OBB) are four such points
=========== ================================================= =======================================

All lengths are shares of the image's width and height.
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

# Sums of rounded shares leave [0, 1] by a few parts in a million.
_TOLERANCE = 1e-4
# Key points may lie somewhat outside of their object's box.
_MARGIN = 0.1
_BOX = 5  # columns


def numbers(line: str) -> list[float] | str:
    """The numbers of a line, or why it is none of numbers."""
    for text, defect in ((line, None), (line.replace(",", " ").replace(";", " "), COMMAS)):
        try:
            values = [float(part) for part in text.split()]
        except ValueError:
            continue
        if len(values) >= _BOX and all(map(math.isfinite, values)):
            return defect or values
    return NO_ROW


def key_point_columns(kpt_shape: object, where: str) -> int | None:
    """How many columns key points take in a row; None without key points.

    Raises:
        UserError: not ``[points, 2 or 3]``.
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
    """The box or polygon of a row.

    Args:
        values: all columns of the row, five or more.
        task: 'detect', 'pose' or 'segment'.
        key_points: columns of key points, for 'pose'; None: any.

    Returns:
        (cx, cy, w, h or the polygon's x1, y1, x2, y2, ...; a remark to count or None), or why it cannot be read.
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
    """What the rows beyond five columns of a whole set have in common, to tell tasks apart that nothing else tells.

    Polygons have many lengths; key points, and a confidence with a track id, one. Rows of one length that all would
    be a polygon and, as well, a box with something behind it are a question for the user.
    """

    polygons: Counter = field(default_factory=Counter)
    others: Counter = field(default_factory=Counter)
    rivals: int = 0
    upright: int = 0
    first: str = ""

    def add(self, values: Sequence[float], where: str) -> None:
        """Looks at a row."""
        count = len(values)
        if count == _BOX:
            return
        if not (_is_polygon(count) and _shares(values[1:])):
            self.others[count] += 1
            return
        self.first = self.first or where
        self.polygons[count] += 1
        if len(self.polygons) > 1:  # told already
            return
        self.rivals += _is_box_with_more(values)
        self.upright += count == 9 and _is_parallelogram(values[1:])

    @property
    def four_points(self) -> bool:
        """Whether all polygons have four points, as oriented boxes do."""
        return set(self.polygons) == {9}

    def task(self) -> str:
        """The task of the set, 'segment' where rows have five columns alone.

        Raises:
            UserError: the rows do not tell.
        """
        total = self.polygons.total()
        if total == 0 or len(self.polygons) > 1 or self.rivals < total or self.upright == total:
            return "segment"
        (count,) = self.polygons
        raise UserError(
            f"{self.first}: {count} columns, as all {total} lines of more than five, are a polygon of {count // 2} "
            f"points or a box with {count - _BOX} more (key points, confidence and track id); say which by "
            "`task` segment, pose or detect, or by kpt_shape in DATA.yaml"
        )

    def advice(self) -> str:
        """What may be the matter with rows that do not fit, for a message."""
        if not self.others:
            return ""
        columns = ", ".join(map(str, sorted(self.others)))
        return (
            f"; lines of {columns} columns do not fit: if they are boxes with more behind them (confidence, track id, "
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
