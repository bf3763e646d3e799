"""What the output layouts of ONNX detectors share: which arrays are whose, and numbers that are what they claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from detdiffusion.datasets.boxes import all_look_normalised
from detdiffusion.utils.errors import UserError

Arrays = Sequence[np.ndarray]
Decoded = tuple[np.ndarray, np.ndarray]

_ROUNDING = 1e-3  # of a softmax in half precision


@dataclass(kw_only=True)
class OutputLayout:
    """How the arrays of a graph become boxes and class scores.

    Args:
        scores: what the graph's scores are: 'probability' in [0, 1], 'percent' or 'logit'.
        outputs: names of the graph's outputs in the layout's order; None takes them in the graph's.

    Attributes:
        ranks: dimensions of each array for one image. The graph gives one more, the batch; without it an array is the
            one image's that the graph was run on.
        shapes: the same in words, for messages; B images.
        nms_inside: whether the graph suppresses overlapping boxes itself.
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
        """Which outputs of the graph to run.

        Raises:
            UserError: the graph has too few, or not those that ``outputs`` names.
        """
        names = list(self.outputs or available[: len(self.ranks)])
        if len(names) != len(self.ranks) or not set(names) <= set(available):
            raise UserError(
                f"{type(self).__name__} reads {self.shapes}, but the graph's outputs are {', '.join(available)}"
                + (f" and outputs={self.outputs!r}" if self.outputs else "")
            )
        return names

    def split(self, arrays: Arrays, count: int) -> list[list[np.ndarray]] | None:
        """The arrays of each of ``count`` images, or None where their shapes are not those of so many."""
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
        """Boxes and scores of one image.

        Args:
            arrays: of :meth:`split`.
            size: (height, width) of the graph's input.

        Returns:
            (N, 4) float64 xyxy in input pixels, and (N, C) class scores in [0, 1].

        Raises:
            UserError: numbers that are not what the layout says.
        """
        raise NotImplementedError

    def probability(self, values: np.ndarray, what: str = "scores") -> np.ndarray:
        """Scores, or a factor of them, as probabilities.

        Raises:
            UserError: they lie outside [0, 1], or look like probabilities where logits are declared.
        """
        values = values.astype(np.float64)
        if self.scores == "logit":
            if not self.nms_inside and values.size and values.min() >= 0 and values.max() <= 1:
                raise UserError(
                    f"its {what} all lie in [0, 1], so they are no logits; leave out onnx_detector.output.scores"
                )
            with np.errstate(over="ignore"):
                values = 1 / (1 + np.exp(-values))
        elif self.scores == "percent":
            values = values / 100
        low, high = values.min(initial=0), values.max(initial=0)
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise UserError(
                f"its {what} go from {low:.6g} to {high:.6g}, but probabilities in [0, 1] are wanted; if they are "
                "percent or logits, say onnx_detector.output.scores='percent' or 'logit'"
            )
        return values.clip(0, 1)


@dataclass(kw_only=True)
class BoxLayout(OutputLayout):
    """A layout whose boxes the graph has decoded.

    Args:
        normalised: boxes are shares of the input's sides instead of its pixels.
    """

    normalised: bool = False

    def pixels(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Boxes (N, 4), float64, in input pixels.

        Raises:
            UserError: another shape.
        """
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise UserError(f"boxes of four numbers are wanted, got shape {list(boxes.shape)}")
        boxes = boxes.astype(np.float64)
        return boxes * (size[1], size[0], size[1], size[0]) if self.normalised else boxes


@dataclass(kw_only=True)
class DetectionLayout(BoxLayout):
    """A layout of a graph with its NMS inside: each row is a detection with one class index.

    Args:
        num_classes: number of classes; the config's where it does not say.
        first_label: index of the first class in the graph, 1 where 0 is the background.
    """

    num_classes: int
    first_label: int = 0

    nms_inside: ClassVar[bool] = True

    def detections(
        self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, size: tuple[int, int]
    ) -> Decoded:
        """Detections as every layout gives them; rows with label -1 are padding.

        Args:
            boxes, scores, labels: (N, 4) xyxy, (N,) and (N,), of any dtype.
            size: of the input.

        Raises:
            UserError: labels that are no class indices, or scores that are no probabilities.
        """
        labels = whole(labels, "class indices")
        boxes, scores, labels = (column[labels != -1] for column in (boxes, scores, labels))
        labels = labels - self.first_label
        if len(labels) and not (labels.min() >= 0 and labels.max() < self.num_classes):
            first, last = self.first_label, self.first_label + self.num_classes - 1
            wrong = labels[(labels < 0) | (labels >= self.num_classes)][0] + first
            raise UserError(
                f"class index {wrong} is outside {first} to {last}, those of the {self.num_classes} names; correct "
                "onnx_detector.classes, or output.first_label=1 where 0 is the background"
            )
        matrix = np.zeros((len(labels), self.num_classes))
        matrix[np.arange(len(labels)), labels] = self.probability(scores)
        return self.pixels(boxes, size), matrix


def whole(values: np.ndarray, what: str) -> np.ndarray:
    """Numbers of any dtype as int64.

    Raises:
        UserError: some are no whole numbers.
    """
    wrong = ~np.isfinite(values) | (values != np.round(values))
    if wrong.any():
        raise UserError(f"its {what} must be whole numbers, got {values[wrong].flat[0]:.6g}")
    return values.astype(np.int64)


def corners(centres: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """(N, 4) xyxy of boxes by their centres (N, 2) and sides (N, 2)."""
    return np.concatenate((centres - sides / 2, centres + sides / 2), axis=1)


def check_boxes(boxes: np.ndarray, found: np.ndarray, size: tuple[int, int]) -> None:
    """Refuses boxes that are not what they claim: xyxy in pixels of the input.

    Args:
        boxes: (N, 4) of one image.
        found: (N,) bool, those with a score above the threshold.
        size: (height, width) of the input.

    Raises:
        UserError: those above the threshold look normalised, or more than a tenth of them have no area or lie far
            outside the input.
    """
    kept = boxes[found]
    if not len(kept):
        return
    if all_look_normalised(kept, np.array(size)) and np.median(boxes.max(axis=1)) <= kept.max():
        raise UserError(
            f"its boxes lie between {kept.min():.3g} and {kept.max():.3g}: they look normalised, but pixels of the "
            "input are declared; where the layout has it, say onnx_detector.output.normalised=True"
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
