"""The input of an ONNX detector: the config's declaration, and its reconciliation with the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from detdiffusion.utils.errors import UserError

from .onnx_graph import OnnxGraph

TYPES = {"float": np.float32, "float16": np.float16, "double": np.float64, "uint8": np.uint8}
"""Supported element types of the input, by onnxruntime's names."""
_WORDS = dict(
    resize=("letterbox", "stretch"),
    anchor=("top-left", "centre"),
    channels=("bgr", "rgb", "grey"),
    layout=(None, "nchw", "nhwc"),
)


@dataclass(frozen=True)
class InputSpec:
    """Preprocessing of an image to the network's input.

    Attributes:
        size: (height, width) in pixels.
        resize: 'letterbox' keeps the aspect ratio and pads; 'stretch' does not.
        anchor: position of a letterboxed image, 'top-left' or 'centre'.
        pad_value: grey level of the padding, 0 to 255.
        channels: 'bgr', 'rgb', or 'grey' (one channel, ITU-R BT.601 luma).
        mean, std: subtracted from the grey levels, and divisor, one number per channel in the order of the channels.
            None selects a default by the input's type: 0 and 255 for floats, which gives [0, 1], and unchanged grey
            levels for uint8.
        layout: 'nchw' or 'nhwc', for a graph whose shape is ambiguous; None reads it from the graph.

    Raises:
        UserError: a value is unknown or out of range.
    """

    size: tuple[int, int]
    resize: str = "letterbox"
    anchor: str = "top-left"
    pad_value: int = 114
    channels: str = "rgb"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: str | None = None

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise UserError(
                    f"onnx_detector.input: {name} must be one of {words}, got {getattr(self, name)!r}"
                )
        sides = self.size if isinstance(self.size, (tuple, list)) else ()
        if len(sides) != 2 or not all(type(side) is int and side > 0 for side in sides):
            raise UserError(f"onnx_detector.input: size must be (height, width) in pixels, got {self.size!r}")
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if numbers is not None and (
                np.shape(numbers) != (self.depth,) or (name == "std" and 0 in numbers)
            ):
                raise UserError(
                    f"onnx_detector.input: {name} must have {self.depth} number(s) for channels={self.channels!r}, "
                    f"none of std 0; got {numbers!r}"
                )

    @property
    def depth(self) -> int:
        """Number of channels."""
        return 1 if self.channels == "grey" else 3

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Preprocess one image.

        Args:
            image: (h, w, 3) uint8 BGR.

        Returns:
            ``(inputs, scale, offset)``: (C, H, W) float32, and the (x, y) factors and offsets of
            ``input pixel = image pixel * scale + offset``.
        """
        import cv2

        height, width = self.size
        h, w = image.shape[:2]
        if self.resize == "stretch":
            new_h, new_w = height, width
        else:
            ratio = min(height / h, width / w)
            new_h, new_w = max(1, int(h * ratio)), max(1, int(w * ratio))
        top, left = 0, 0
        if self.anchor == "centre":
            top, left = (height - new_h) // 2, (width - new_w) // 2
        canvas = np.full((height, width, 3), self.pad_value, np.uint8)
        canvas[top : top + new_h, left : left + new_w] = cv2.resize(image, (new_w, new_h))
        if self.channels == "rgb":
            canvas = canvas[:, :, ::-1]
        elif self.channels == "grey":
            canvas = cv2.cvtColor(canvas, cv2.COLOR_BGR2GRAY)[:, :, None]
        mean = np.float32((0.0,) * self.depth if self.mean is None else self.mean)
        std = np.float32((255.0,) * self.depth if self.std is None else self.std)
        inputs = (canvas.astype(np.float32) - mean) / std
        scale = np.array([new_w / w, new_h / h])
        return np.ascontiguousarray(inputs.transpose(2, 0, 1)), scale, np.array([left, top], np.float64)


@dataclass(frozen=True)
class GraphInput:
    """The input of a graph, after reconciling the declaration with the graph.

    Attributes:
        spec: the declaration, with ``layout`` and the defaults of ``mean`` and ``std`` filled in.
        dtype: dtype of the graph's input.
        batch: fixed batch size of the graph; None: any number.
    """

    spec: InputSpec
    dtype: type
    batch: int | None

    def pack(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Stack images (C, H, W) to one array; a fixed batch size is filled up with copies of the first image."""
        inputs = [*inputs, *[inputs[0]] * ((self.batch or 0) - len(inputs))]
        batch = np.stack(inputs)
        if self.spec.layout == "nhwc":
            batch = batch.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(batch, self.dtype)


def settle_input(spec: InputSpec, graph: OnnxGraph, config: str) -> GraphInput:
    """Read data type, layout and batch size from the graph, and check them against the declaration.

    Args:
        spec: the declaration.
        graph: the model.
        config: path of the config, for messages.

    Raises:
        UserError: the graph's input does not match the declaration.
    """
    takes = ", ".join(str(port) for port in graph.inputs)
    start = f"{graph.path}: takes {takes}, but {config} declares"
    if len(graph.inputs) != 1:
        raise UserError(f"{start} a single image; export the detector without its other inputs")
    kind, shape = graph.inputs[0].kind, graph.inputs[0].shape
    if kind not in TYPES:
        raise UserError(
            f"{start} an image of type {', '.join(TYPES)}; export the model with one of these types"
        )
    height, width = spec.size
    wanted = dict(nchw=(spec.depth, height, width), nhwc=(height, width, spec.depth))
    layouts = [
        layout
        for layout, sides in wanted.items()
        if spec.layout in (None, layout)
        and len(shape) == 4
        and all(have in (None, want) for have, want in zip(shape[1:], sides))
    ]
    if not layouts:
        choices = [sides for layout, sides in wanted.items() if spec.layout in (None, layout)]
        texts = [f"1 x {' x '.join(map(str, sides))}" for sides in choices]
        raise UserError(
            f"{start} one image of {' or '.join(texts)} ({spec.channels}, channels first or last); correct "
            "onnx_detector.input.size, or .channels ('grey' is one channel), or .layout"
        )
    if len(layouts) > 1:
        raise UserError(
            f"{graph.path}: takes {takes}, which leaves open whether the channels come first or last; set "
            f"onnx_detector.input.layout='nchw' or 'nhwc' in {config}"
        )
    return GraphInput(
        replace(spec, layout=layouts[0], **_normalisation(spec, kind, start)), TYPES[kind], shape[0]
    )


def _normalisation(spec: InputSpec, kind: str, start: str) -> dict:
    """Return the changes of ``mean`` and ``std`` for the input's type: uint8 inputs are not normalised."""
    if kind != "uint8":
        return {}
    plain = dict(mean=(0.0,) * spec.depth, std=(1.0,) * spec.depth)
    for name, numbers in plain.items():
        if getattr(spec, name) not in (None, numbers):
            raise UserError(
                f"{start} onnx_detector.input.{name}={getattr(spec, name)}: uint8 inputs are unchanged grey levels, "
                "which the graph normalises; omit mean and std"
            )
    return plain
