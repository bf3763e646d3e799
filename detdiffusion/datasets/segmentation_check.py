"""Checks of a COCO json's segmentations one at a time, so that they need not be kept in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from detdiffusion.utils.findings import Finding

from .boxes import NORMALISED
from .coco_tables import MAX_COORDINATE, MAX_SIDE
from .finding_log import FindingLog
from .rle import compressed_totals

FEW_POINTS = "polygon part of fewer than three points"
LEFT_OUT = "the segmentation is left out"
NO_PART = "segmentation without a part of three points or more"
_BATCH = 64  # texts per batch, so that their numbers fit into the CPU's cache
_NUMBERS = {int, float}


class SegmentationCheck:
    """Checks segmentations; call it with each annotation in the file's order, then call :meth:`log_findings`.

    Parts of polygons with fewer than three points are dropped. Any other invalid segmentation is removed with a
    warning, but is an error for code that needs masks. Run lengths are compared with the sizes of their images at the
    end, when these are known.

    Attributes:
        errors: errors for code that needs masks; set by :meth:`log_findings`.
        usable: for each annotation, whether its segmentation is usable; final after :meth:`log_findings`.
    """

    def __init__(self) -> None:
        self.errors: list[Finding] = []
        self.usable = bytearray()
        self._faults: list[tuple[int, str, str, Any]] = []  # row, problem, remedy, value
        self._parts: dict[str, list[int]] = {FEW_POINTS: [], NO_PART: []}  # rows
        self._rle_rows: list[int] = []
        self._rle_sizes: list[tuple[int, int]] = []
        self._totals: list[np.ndarray] = []
        self._texts: list[bytes] = []

    def __call__(self, annotation: dict) -> Any:
        """Check a segmentation and return its usable parts; None if there are none."""
        segmentation = self._checked(annotation)
        self.usable.append(segmentation is not None)
        return segmentation

    def _checked(self, annotation: dict) -> Any:
        segmentation = annotation.get("segmentation")
        if type(segmentation) is list:
            return self._polygons(segmentation, annotation.get("bbox"))
        if type(segmentation) is dict and segmentation:
            self._run_lengths(segmentation)
            return segmentation
        if segmentation:
            self._fault("a segmentation is neither polygons nor RLE", segmentation)
        return None

    @property
    def _row(self) -> int:
        return len(self.usable)

    def _fault(self, problem: str, value: Any, remedy: str = "correct or remove it") -> None:
        self._faults.append((self._row, problem, remedy, value))

    def _polygons(self, parts: list, box: Any) -> list | None:
        problem, remedy = polygon_fault(parts)
        if problem:
            self._fault(problem, parts, remedy)
            return None
        kept = [part for part in parts if _encloses(part)]
        if len(kept) < len(parts):
            self._parts[FEW_POINTS if kept else NO_PART].append(self._row)
        if kept and _is_relative(kept, box):
            self._fault(
                "a polygon with values from 0 to 1 only, but a box in pixels",
                kept,
                "multiply x by the image's width and y by its height",
            )
        return kept or None

    def _run_lengths(self, rle: dict) -> None:
        counts, size = rle.get("counts"), rle.get("size")
        valid = type(size) is list and len(size) == 2 and type(size[0]) is type(size[1]) is int
        valid = valid and 0 < size[0] <= MAX_SIDE and 0 < size[1] <= MAX_SIDE
        if not valid:
            self._fault(
                "'size' of run lengths must be [height, width]", size if size is not None else "missing"
            )
            return
        if type(counts) is list:
            if not {int}.issuperset(map(type, counts)) or min(counts, default=0) < 0:
                self._fault("run lengths must be whole numbers from 0", counts)
                return
            self._flush()
            self._totals.append(np.array([min(sum(counts), 2**62)]))
        elif type(counts) is str:
            self._texts.append(counts.encode("utf-8", "replace"))
        else:
            self._fault(
                "'counts' of run lengths must be a string or a list",
                counts if counts is not None else "missing",
            )
            return
        self._rle_rows.append(self._row)
        self._rle_sizes.append((size[0], size[1]))
        if len(self._texts) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._texts:
            self._totals.append(compressed_totals(self._texts))
            self._texts = []

    def log_findings(self, ids: Sequence[int], sizes: np.ndarray, log: FindingLog) -> list[int]:
        """Log the findings.

        Args:
            ids: ids of the annotations.
            sizes: (N, 2) width and height of their images.
            log: receives the findings.

        Returns:
            Indices of the annotations whose segmentation is removed.
        """
        self._flush()
        faults = sorted([*self._faults, *self._rle_faults(sizes)], key=lambda fault: fault[0])
        errors = FindingLog(log.file)
        for row, problem, remedy, value in faults:
            errors.add(problem, [ids[row]], kind="annotation id", value=value, remedy=remedy)
            log.add(
                problem, [ids[row]], kind="annotation id", value=value, remedy=LEFT_OUT, severity="warning"
            )
        self.errors = errors.findings
        for problem, remedy in ((FEW_POINTS, "the part is dropped"), (NO_PART, "the box serves as mask")):
            rows = self._parts[problem]
            if rows:
                keys = [ids[row] for row in rows[:5]]
                kind = "annotation id"
                log.add(problem, keys, kind=kind, remedy=remedy, severity="warning", count=len(rows))
        rows = [row for row, *_ in faults]
        for row in rows:
            self.usable[row] = False
        return rows

    def _rle_faults(self, sizes: np.ndarray) -> Iterator[tuple[int, str, str, Any]]:
        if not self._rle_rows:
            return
        rows, mask_sizes = np.array(self._rle_rows), np.array(self._rle_sizes)
        image_sizes, totals = sizes[rows][:, ::-1].astype(np.int64), np.concatenate(self._totals)
        fits = (mask_sizes == image_sizes).all(1)
        for k in np.flatnonzero(~fits).tolist():
            (height, width), (h, w) = mask_sizes[k], image_sizes[k]
            value = f"{height} x {width}, image {h} x {w} (height x width)"
            yield int(rows[k]), "a mask has another size than its image", "correct one of them", value
        for k in np.flatnonzero(fits & (totals != image_sizes.prod(1))).tolist():
            total = f"{totals[k]} pixels" if totals[k] >= 0 else "broken text"
            value = f"{total}, {image_sizes[k].prod()} expected"
            yield int(rows[k]), "run lengths do not fill their mask", "write the mask again", value


def polygon_fault(parts: list) -> tuple[str, str]:
    """Return why a list does not consist of polygons, and what to do; empty strings if it does.

    Parts of fewer than three points are accepted.
    """
    pairs = len(parts) >= 3
    for part in parts:
        if type(part) is not list:
            if type(part) in _NUMBERS:
                return "a polygon is a flat list of numbers", "put it into a list: [[x1, y1, x2, y2, ...]]"
            return "a segmentation is neither polygons nor RLE", "correct or remove it"
        count = len(part)
        pairs = pairs and count == 2
        try:
            finite = math.isfinite(sum(part))
        except (TypeError, OverflowError):
            if any(type(value) in (list, dict) for value in part):
                return "a polygon is made of pairs", "write the numbers in turn: [x1, y1, x2, y2, ...]"
            return "a polygon with a value that is not a number", "correct or remove it"
        if not finite:
            return "a polygon with a value that is not finite", "correct or remove it"
        if count and (max(part) > MAX_COORDINATE or min(part) < -MAX_COORDINATE):
            return "a polygon with a value beyond a million pixels", "correct or remove it"
        if count % 2 and count > 5:
            return "a polygon of an odd number of values", "write x1, y1, x2, y2, ..."
    if pairs:
        return "a polygon is made of pairs", "write the numbers in turn: [x1, y1, x2, y2, ...]"
    return "", ""


def usable_parts(segmentation: Any) -> Any:
    """Return the parts of a segmentation that :class:`SegmentationCheck` keeps, for a file that was checked."""
    if not isinstance(segmentation, list):
        return segmentation or None
    fault, _ = polygon_fault(segmentation)
    return None if fault else [part for part in segmentation if _encloses(part)] or None


def _encloses(part: list[float]) -> bool:
    """Return whether a part x1, y1, x2, y2, ... has three or more points not all on one horizontal or vertical line."""
    if len(part) < 6:
        return False
    if part[0] != part[2] and part[1] != part[3]:  # fast path, nearly always true
        return True
    return len(set(part[::2])) > 1 and len(set(part[1::2])) > 1


def _is_relative(parts: list[list[float]], box: Any) -> bool:
    high = NORMALISED[1]
    if parts[0][0] > high or max(parts[0]) > high or type(box) is not list or len(box) != 4:
        return False
    try:
        large = max(box[2], box[3]) > 4
    except TypeError:
        return False
    return large and max(map(max, parts)) <= high
