"""Base classes of the output layouts of ONNX detectors, and checks of the decoded values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from detdiffusion.datasets.boxes import all_look_normalised
from detdiffusion.utils.errors import UserError

Arrays = Sequence[np.ndarray]
Decoded = tuple[np.ndarray, np.ndarray]

_ROUNDING = 1e-3  # tolerance for a softmax in half precision


@dataclass(kw_only=True)
class OutputLayout:
    """Decodes the arrays of a graph to boxes and class scores.

    Args:
        scores: form of the graph's scores: 'probability' in [0, 1], 'percent' or 'logit'.
        outputs: names of the graph's outputs in the order of the layout; None uses the order of the graph.

    Attributes:
        ranks: number of dimensions of each array, without the batch dimension. Arrays without a batch dimension are
            accepted if the graph was run on a single image.
        shapes: the shapes as text, for messages; B images.
        nms_inside: whether the graph contains NMS.
    """

    scores: str = "probability"
    outputs: tuple[str, ...] | None = None

    ranks: ClassVar[tuple[int, ...]]
    shapes: ClassVar[str]
    nms_inside: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.scores not in ("probability", "percent", "logit"):
            raise UserError(f"scores must be 'probability', 'percent' or 'logit', got {self.scores!r}")
        if isinstance(self.outputs, str):
            self.outputs = (self.outputs,)

    def names(self, available: Sequence[str]) -> list[str]:
        """Return the names of the graph's outputs to compute.

        Raises:
            UserError: the graph has too few outputs, or not those named by ``outputs``.
        """
        names = list(self.outputs or available[: len(self.ranks)])
        if len(names) != len(self.ranks) or not set(names) <= set(available):
            raise UserError(
                f"{type(self).__name__} reads {self.shapes}, but the graph's outputs are {', '.join(available)}"
                + (f" and outputs={self.outputs!r}" if self.outputs else "")
            )
        return names

    def split(self, arrays: Arrays, count: int) -> list[list[np.ndarray]] | None:
        """Split the arrays by image; return None if their shapes do not match ``count`` images."""
        columns = []
        for array, rank in zip(arrays, self.ranks):
            if array.ndim == rank + 1 and len(array) == count:
                columns.append(list(array))
            elif array.ndim == rank and count == 1:
                columns.append([array])
            else:
                return None
        return [list(image) for image in zip(*columns)]

    def __call__(self, arrays: Arrays, size: tuple[int, int]) -> Decoded:
        """Decode boxes and scores of one image.

        Args:
            arrays: arrays of one image, see :meth:`split`.
            size: (height, width) of the graph's input.

        Returns:
            (N, 4) float64 xyxy in input pixels, and (N, C) class scores in [0, 1].

        Raises:
            UserError: values contradict the layout.
        """
        raise NotImplementedError

    def probability(self, values: np.ndarray, what: str = "scores") -> np.ndarray:
        """Convert scores, or a factor of them such as the objectness, to probabilities.

        Raises:
            UserError: the results lie outside [0, 1], or declared logits look like probabilities.
        """
        values = values.astype(np.float64)
        if self.scores == "logit":
            if not self.nms_inside and values.size and values.min() >= 0 and values.max() <= 1:
                raise UserError(
                    f"its {what} all lie in [0, 1], so they are not logits; omit onnx_detector.output.scores"
                )
            with np.errstate(over="ignore"):
                values = 1 / (1 + np.exp(-values))
        elif self.scores == "percent":
            values = values / 100
        low, high = values.min(initial=0), values.max(initial=0)
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise UserError(
                f"its {what} range from {low:.6g} to {high:.6g}, but must be probabilities in [0, 1]; if they are "
                "percent or logits, set onnx_detector.output.scores='percent' or 'logit'"
            )
        return values.clip(0, 1)


@dataclass(kw_only=True)
class BoxLayout(OutputLayout):
    """A layout of a graph that decodes its boxes.

    Args:
        normalised: boxes are fractions of the input's sides instead of pixels.
    """

    normalised: bool = False

    def pixels(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Convert boxes (N, 4) to float64 in input pixels.

        Raises:
            UserError: the shape is not (N, 4).
        """
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise UserError(f"boxes must have four numbers, got shape {list(boxes.shape)}")
        boxes = boxes.astype(np.float64)
        return boxes * (size[1], size[0], size[1], size[0]) if self.normalised else boxes


@dataclass(kw_only=True)
class DetectionLayout(BoxLayout):
    """A layout of a graph that contains NMS: each row is a detection with one class index.

    Args:
        num_classes: number of classes; default: the number of the config's class names.
        first_label: index of the first class in the graph, 1 if 0 is the background.
    """

    num_classes: int
    first_label: int = 0

    nms_inside: ClassVar[bool] = True

    def detections(
        self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, size: tuple[int, int]
    ) -> Decoded:
        """Convert detections to the common form of all layouts; rows with label -1 are padding.

        Args:
            boxes, scores, labels: (N, 4) xyxy, (N,) and (N,), of any dtype.
            size: (height, width) of the input.

        Raises:
            UserError: labels are not class indices, or scores are not probabilities.
        """
        labels = to_integers(labels, "class indices")
        boxes, scores, labels = (column[labels != -1] for column in (boxes, scores, labels))
        labels = labels - self.first_label
        if len(labels) and not (labels.min() >= 0 and labels.max() < self.num_classes):
            first, last = self.first_label, self.first_label + self.num_classes - 1
            wrong = labels[(labels < 0) | (labels >= self.num_classes)][0] + first
            raise UserError(
                f"class index {wrong} is outside {first} to {last}, the range for {self.num_classes} names; correct "
                "onnx_detector.classes, or set output.first_label=1 if 0 is the background"
            )
        matrix = np.zeros((len(labels), self.num_classes))
        matrix[np.arange(len(labels)), labels] = self.probability(scores)
        return self.pixels(boxes, size), matrix


def to_integers(values: np.ndarray, what: str) -> np.ndarray:
    """Convert numbers of any dtype to int64.

    Raises:
        UserError: a number is not an integer.
    """
    wrong = ~np.isfinite(values) | (values != np.round(values))
    if wrong.any():
        raise UserError(f"its {what} must be whole numbers, got {values[wrong].flat[0]:.6g}")
    return values.astype(np.int64)


def corners(centres: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Return (N, 4) xyxy boxes with the given centres (N, 2) and sides (N, 2)."""
    return np.concatenate((centres - sides / 2, centres + sides / 2), axis=1)


def check_boxes(boxes: np.ndarray, found: np.ndarray, size: tuple[int, int]) -> None:
    """Check that boxes are plausible as xyxy in pixels of the input.

    Args:
        boxes: (N, 4) boxes of one image.
        found: (N,) bool, True for boxes with a score above the threshold.
        size: (height, width) of the input.

    Raises:
        UserError: the boxes above the threshold look normalised, or more than a tenth of them have no area or lie far
            outside the input.
    """
    kept = boxes[found]
    if not len(kept):
        return
    if all_look_normalised(kept, np.array(size)) and np.median(boxes.max(axis=1)) <= kept.max():
        raise UserError(
            f"its boxes lie between {kept.min():.3g} and {kept.max():.3g}: they look normalised, but pixels of the "
            "input are declared; set onnx_detector.output.normalised=True if the layout has this option"
        )
    frame, sides = np.array([size[1], size[0]], np.float64), kept[:, 2:] - kept[:, :2]
    inside = (kept[:, :2] > 0) & (kept[:, :2] < frame)
    turned = ((sides < -1) | ((sides <= 0) & inside)).any(axis=1)
    far = ((kept[:, :2] > 1.5 * frame) | (kept[:, 2:] < -0.5 * frame) | (sides > 3 * frame)).any(axis=1)
    for wrong, what in (
        (turned, "have corners in the wrong order or no area"),
        (far, "lie far outside the input"),
    ):
        if wrong.mean() > 0.1:
            raise UserError(
                f"{int(wrong.sum())} of {len(kept)} boxes {what} of {size[1]} x {size[0]} (width x height; first: "
                f"{kept[wrong][0].round(2).tolist()}); the model's boxes are in another form (corners, centre and "
                "size, normalised) than onnx_detector.output declares"
            )
