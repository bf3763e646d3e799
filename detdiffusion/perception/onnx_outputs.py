"""Output layouts of ONNX detectors: raw arrays of one image → boxes, class scores.

A layout is a class in ``TASK_UTILS``; a config names it as ``output=dict(type=...)``. For another network register
one more: a callable that takes the model's outputs and the input's (height, width) and returns
``(boxes, scores)``, (N, 4) xyxy in input pixels and (N, C) class scores in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detdiffusion.registry import TASK_UTILS
from detdiffusion.utils.errors import UserError

Arrays = Sequence[np.ndarray]


@TASK_UTILS.register_module()
class YOLOXOutput:
    """One (N, 5 + C) array a batch entry, cells of all strides in turn, boxes still relative to their cells.

    A row is ``x, y, w, h, objectness, class scores``; centre = (cell + xy) * stride, size = exp(wh) * stride;
    objectness and class scores are sigmoids already. What ``tools/export_onnx.py`` of YOLOX writes without
    ``--decode_in_inference``.

    Args:
        strides: of the levels, in the order of the rows.
    """

    def __init__(self, strides: Sequence[int] = (8, 16, 32)) -> None:
        self.strides = tuple(strides)

    def __call__(self, outputs: Arrays, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        rows = outputs[0].astype(np.float64)
        cells, strides = [], []
        for stride in self.strides:
            y, x = np.divmod(np.arange((size[0] // stride) * (size[1] // stride)), size[1] // stride)
            cells.append(np.stack((x, y), axis=1))
            strides.append(np.full((len(x), 1), stride))
        cells, strides = np.concatenate(cells), np.concatenate(strides)
        if len(rows) != len(cells):
            raise UserError(
                f"YOLOXOutput: the model gives {len(rows)} rows, but strides {self.strides} make {len(cells)} cells "
                f"of an input of {size[0]} x {size[1]}; correct input.size or output.strides"
            )
        centres, sides = (rows[:, :2] + cells) * strides, np.exp(rows[:, 2:4]) * strides
        return _corners(centres, sides), rows[:, 4:5] * rows[:, 5:]


@TASK_UTILS.register_module()
class FastestDetOutput:
    """One (1 + 4 + C, H, W) map a batch entry: objectness, box, class scores of each cell.

    Centre = cell + tanh, size = sigmoid, both as shares of the input.

    Args:
        objectness_power, class_power: the score is objectness^a * class^b. (1, 1) is a probability, as other
            detectors give it; FastestDet's own demo takes (0.6, 0.4), which ranks nearly alike but lies higher.
    """

    def __init__(self, objectness_power: float = 1.0, class_power: float = 1.0) -> None:
        self.powers = (objectness_power, class_power)

    def __call__(self, outputs: Arrays, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        maps = outputs[0].astype(np.float64)
        height, width = maps.shape[1:]
        rows = maps.reshape(len(maps), -1).T
        y, x = np.divmod(np.arange(height * width), width)
        pixels = np.array([size[1], size[0]], np.float64)
        centres = (np.stack((x, y), axis=1) + np.tanh(rows[:, 1:3])) / (width, height) * pixels
        sides = pixels / (1 + np.exp(-rows[:, 3:5]))
        objectness, classes = (
            np.clip(part, 0, 1) ** power for part, power in zip((rows[:, :1], rows[:, 5:]), self.powers)
        )
        return _corners(centres, sides), objectness * classes


@TASK_UTILS.register_module()
class CentreSizeOutput:
    """One array of decoded boxes ``cx, cy, w, h`` in input pixels with class scores, before NMS.

    Args:
        transposed: (4 + C, N) as Ultralytics' YOLOv8 to v11 exports have it, else (N, 4 + C).
        objectness: a fifth value that multiplies the class scores (YOLOv5, YOLOX decoded).
    """

    def __init__(self, transposed: bool = True, objectness: bool = False) -> None:
        self.transposed, self.objectness = transposed, objectness

    def __call__(self, outputs: Arrays, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        rows = outputs[0].astype(np.float64)
        rows = rows.T if self.transposed else rows
        scores = rows[:, 4:5] * rows[:, 5:] if self.objectness else rows[:, 4:]
        return _corners(rows[:, :2], rows[:, 2:4]), scores


@TASK_UTILS.register_module()
class DetsLabelsOutput:
    """Two arrays, ``dets`` (N, 5) as ``x1, y1, x2, y2, score`` in input pixels and ``labels`` (N,): mmdeploy's.

    Such a model has its NMS inside: give ``nms=None`` in the config.

    Args:
        num_classes: number of classes.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def __call__(self, outputs: Arrays, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        dets, labels = outputs[0].astype(np.float64), outputs[1].astype(np.int64).reshape(-1)
        valid = (labels >= 0) & (labels < self.num_classes)  # padding has label -1
        scores = np.zeros((int(valid.sum()), self.num_classes))
        scores[np.arange(len(scores)), labels[valid]] = dets[valid, 4]
        return dets[valid, :4], scores


def _corners(centres: np.ndarray, sides: np.ndarray) -> np.ndarray:
    return np.concatenate((centres - sides / 2, centres + sides / 2), axis=1)
