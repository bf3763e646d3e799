"""Output layouts of ONNX detectors: the arrays of one image → boxes, class scores.

A layout is a class registered in ``OUTPUT_LAYOUTS``; a config selects it with ``output=dict(type=...)``. To support
another network, register a subclass of :class:`.onnx_layout.OutputLayout`, ``BoxLayout`` or ``DetectionLayout`` that
implements ``__call__``.

=========================  ==================================================================  ===========
layout                     arrays, B images                                                    NMS
=========================  ==================================================================  ===========
YOLOXOutput                (B, N, 5 + C), boxes relative to their cells                        the config's
FastestDetOutput           (B, 5 + C, H, W)                                                    the config's
CentreSizeOutput           (B, 4 + C, N) or (B, N, 4 + C): cx, cy, w, h, scores                the config's
EndToEndOutput             (B, N, 6) or (N, 6): x1, y1, x2, y2, score, class                   inside
BatchIndexOutput           (M, 7): image, x1, y1, x2, y2, class, score                         inside
DetsLabelsOutput           (B, N, 5) x1, y1, x2, y2, score; (B, N) classes                     inside
BoxesScoresLabelsOutput    (B, N, 4) or (N, 4) xyxy; (B, N) or (N,) scores; the same, classes  inside
EfficientNMSOutput         (B, 1) counts; (B, N, 4) xyxy; (B, N) scores; (B, N) classes        inside
=========================  ==================================================================  ===========
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from detdiffusion.registry import OUTPUT_LAYOUTS
from detdiffusion.utils.errors import UserError

from .onnx_layout import Arrays, BoxLayout, Decoded, DetectionLayout, OutputLayout, corners, to_integers


@OUTPUT_LAYOUTS.register_module()
@dataclass(kw_only=True)
class YOLOXOutput(OutputLayout):
    """One (N, 5 + C) array per image with the cells of all strides in turn and boxes relative to their cells.

    A row is ``x, y, w, h, objectness, class scores``; centre = (cell + xy) * stride, size = exp(wh) * stride;
    the sigmoid is already applied to objectness and class scores. This is the output of YOLOX's
    ``tools/export_onnx.py`` without ``--decode_in_inference``.

    Args:
        strides: strides of the levels, in the order of the rows.
    """

    strides: tuple[int, ...] = (8, 16, 32)

    ranks: ClassVar[tuple[int, ...]] = (2,)
    shapes: ClassVar[str] = "one array (B, N, 5 + classes)"

    def __call__(self, arrays: Arrays, size: tuple[int, int]) -> Decoded:
        rows = _rows(arrays[0], 6)
        cells, strides = [], []
        for stride in self.strides:
            y, x = np.divmod(np.arange((size[0] // stride) * (size[1] // stride)), size[1] // stride)
            cells.append(np.stack((x, y), axis=1))
            strides.append(np.full((len(x), 1), stride))
        cells, strides = np.concatenate(cells), np.concatenate(strides)
        if len(rows) != len(cells):
            raise UserError(
                f"YOLOXOutput: the model returns {len(rows)} rows, but strides {self.strides} give {len(cells)} cells "
                f"for an input of {size[0]} x {size[1]}; correct input.size or output.strides"
            )
        with np.errstate(over="ignore"):  # infinite sides raise an error later
            centres, sides = (rows[:, :2] + cells) * strides, np.exp(rows[:, 2:4]) * strides
        objectness = self.probability(rows[:, 4:5], "objectness")
        return corners(centres, sides), objectness * self.probability(rows[:, 5:])


@OUTPUT_LAYOUTS.register_module()
@dataclass(kw_only=True)
class FastestDetOutput(OutputLayout):
    """One (5 + C, H, W) map per image: objectness, box and class scores of each cell.

    Centre = cell + tanh, size = sigmoid, both as fractions of the input.

    Args:
        objectness_power, class_power: a and b of the score objectness^a * class^b. (1, 1) is a probability, as for
            other detectors; FastestDet's demo uses (0.6, 0.4), which gives nearly the same ranking but higher scores.
    """

    objectness_power: float = 1.0
    class_power: float = 1.0

    ranks: ClassVar[tuple[int, ...]] = (3,)
    shapes: ClassVar[str] = "one array (B, 5 + classes, H, W)"

    def __call__(self, arrays: Arrays, size: tuple[int, int]) -> Decoded:
        maps = arrays[0]
        height, width = maps.shape[1:]
        rows = _rows(maps.reshape(len(maps), -1).T, 6)
        y, x = np.divmod(np.arange(height * width), width)
        pixels = np.array([size[1], size[0]], np.float64)
        centres = (np.stack((x, y), axis=1) + np.tanh(rows[:, 1:3])) / (width, height) * pixels
        sides = pixels / (1 + np.exp(-rows[:, 3:5]))
        objectness = self.probability(rows[:, :1], "objectness") ** self.objectness_power
        return corners(centres, sides), objectness * self.probability(rows[:, 5:]) ** self.class_power


@OUTPUT_LAYOUTS.register_module()
@dataclass(kw_only=True)
class CentreSizeOutput(BoxLayout):
    """One array of decoded boxes ``cx, cy, w, h`` with class scores, before NMS.

    Args:
        transposed: (4 + C, N), as in Ultralytics' exports of YOLOv8 to v11; otherwise (N, 4 + C).
        objectness: the fifth value is an objectness that multiplies the class scores (YOLOv5, decoded YOLOX).
    """

    transposed: bool = True
    objectness: bool = False

    ranks: ClassVar[tuple[int, ...]] = (2,)
    shapes: ClassVar[str] = "one array (B, 4 + classes, N), or (B, N, 4 + classes) by transposed=False"

    def __call__(self, arrays: Arrays, size: tuple[int, int]) -> Decoded:
        rows = _rows(arrays[0].T if self.transposed else arrays[0], 6 if self.objectness else 5)
        if rows.shape[1] == 6 and _is_end_to_end(rows):
            raise UserError(
                "its rows are x1, y1, x2, y2, score, class after NMS, not cx, cy, w, h and class scores; declare "
                "output=dict(type='EndToEndOutput') and nms=None"
            )
        boxes = self.pixels(corners(rows[:, :2], rows[:, 2:4]), size)
        if not self.objectness:
            return boxes, self.probability(rows[:, 4:])
        return boxes, self.probability(rows[:, 4:5], "objectness") * self.probability(rows[:, 5:])


@OUTPUT_LAYOUTS.register_module()
@dataclass(kw_only=True)
class EndToEndOutput(DetectionLayout):
    """One (N, 6) array per image, one detection per row: YOLOv10, YOLO26, Ultralytics' exports with ``nms=True``.

    Args:
        columns: names of the columns, in order; columns with names other than these six are ignored.
    """

    columns: tuple[str, ...] = ("x1", "y1", "x2", "y2", "score", "class")

    ranks: ClassVar[tuple[int, ...]] = (2,)
    shapes: ClassVar[str] = "one array (B, N, 6) or (N, 6), a detection a row"

    def __post_init__(self) -> None:
        super().__post_init__()
        lacking = {"x1", "y1", "x2", "y2", "score", "class"} - set(self.columns)
        if lacking:
            raise UserError(f"columns {self.columns!r} lack {', '.join(sorted(lacking))}")

    def __call__(self, arrays: Arrays, size: tuple[int, int]) -> Decoded:
        rows = arrays[0]
        if rows.shape[1] != len(self.columns):
            raise UserError(f"rows of {rows.shape[1]} numbers, but its columns are {', '.join(self.columns)}")
        place = {name: self.columns.index(name) for name in self.columns}
        boxes = rows[:, [place[name] for name in ("x1", "y1", "x2", "y2")]]
        return self.detections(boxes, rows[:, place["score"]], rows[:, place["class"]], size)


@OUTPUT_LAYOUTS.register_module()
@dataclass(kw_only=True)
class BatchIndexOutput(EndToEndOutput):
    """One (M, 7) array for all images, each row with the index of its image: YOLOv7's end-to-end export.

    Args:
        columns: as for :class:`EndToEndOutput`, and ``batch``.
    """

    columns: tuple[str, ...] = ("batch", "x1", "y1", "x2", "y2", "class", "score")

    shapes: ClassVar[str] = "one array (M, 7), rows of all images with an index from 0 to B - 1"

    def __post_init__(self) -> None:
        super().__post_init__()
        if "batch" not in self.columns:
            raise UserError(f"columns {self.columns!r} lack batch")

    def split(self, arrays: Arrays, count: int) -> list[list[np.ndarray]] | None:
        """See :meth:`.OutputLayout.split`; the index is set to 0, so that rows do not depend on the batch."""
        rows = arrays[0]
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            return None
        place = self.columns.index("batch")
        index, rows = rows[:, place].copy(), rows.copy()
        rows[:, place] = 0
        if not np.isin(index, range(count)).all():
            return None
        return [[rows[index == k]] for k in range(count)]


@OUTPUT_LAYOUTS.register_module()
@dataclass(kw_only=True)
class DetsLabelsOutput(DetectionLayout):
    """Two arrays per image, ``dets`` (N, 5) as ``x1, y1, x2, y2, score`` and ``labels`` (N,): mmdeploy."""

    ranks: ClassVar[tuple[int, ...]] = (2, 1)
    shapes: ClassVar[str] = "dets (B, N, 5) and labels (B, N)"

    def __call__(self, arrays: Arrays, size: tuple[int, int]) -> Decoded:
        dets, labels = arrays
        if dets.shape[1] != 5:
            raise UserError(f"dets must have 5 numbers, got shape {list(dets.shape)}")
        return self.detections(dets[:, :4], dets[:, 4], labels, size)


@OUTPUT_LAYOUTS.register_module()
@dataclass(kw_only=True)
class BoxesScoresLabelsOutput(DetectionLayout):
    """Three arrays per image, (N, 4) xyxy, (N,) scores and (N,) class indices.

    torchvision's detectors return boxes, labels and scores, with the background as class 0:
    ``outputs=("boxes", "scores", "labels"), first_label=1``.
    """

    ranks: ClassVar[tuple[int, ...]] = (2, 1, 1)
    shapes: ClassVar[str] = "boxes (B, N, 4), scores (B, N) and class indices (B, N), or without B"

    def __call__(self, arrays: Arrays, size: tuple[int, int]) -> Decoded:
        return self.detections(*arrays, size)


@OUTPUT_LAYOUTS.register_module()
@dataclass(kw_only=True)
class EfficientNMSOutput(DetectionLayout):
    """Four arrays per image: (1,) number of detections, (N, 4) xyxy, (N,) scores, (N,) class indices; TensorRT."""

    ranks: ClassVar[tuple[int, ...]] = (1, 2, 1, 1)
    shapes: ClassVar[str] = "counts (B, 1), boxes (B, N, 4), scores (B, N) and class indices (B, N)"

    def split(self, arrays: Arrays, count: int) -> list[list[np.ndarray]] | None:
        """See :meth:`.OutputLayout.split`; counts of shape (B,) are accepted too."""
        return super().split([arrays[0].reshape(-1, 1), *arrays[1:]], count)

    def __call__(self, arrays: Arrays, size: tuple[int, int]) -> Decoded:
        (number,) = to_integers(arrays[0], "counts")
        if not 0 <= number <= len(arrays[1]):
            raise UserError(f"it counts {number} detections in {len(arrays[1])} rows")
        return self.detections(*(array[:number] for array in arrays[1:]), size)


def _rows(array: np.ndarray, least: int) -> np.ndarray:
    """Return rows (N, K) as float64, after checking that K is at least ``least``."""
    if array.shape[1] < least:
        raise UserError(
            f"rows of {array.shape[1]} numbers, but at least {least} are needed (shape {list(array.shape)})"
        )
    return array.astype(np.float64)


def _is_end_to_end(rows: np.ndarray) -> bool:
    """Return whether rows of six numbers are sorted detections with a class index, not boxes with two class scores."""
    scores, classes = rows[:, 4], rows[:, 5]
    found = scores > 0  # the others are padding
    sure = found.any() and (len(rows) > 1 or classes.any())  # a single row that ends in 0 is ambiguous
    return bool(
        sure
        and (classes == classes.round()).all()
        and (rows[found, 2:4] > rows[found, :2]).all()
        and (np.diff(scores) <= 0).all()
    )
