"""Check of the weights in an ``.onnx`` file, to which onnxruntime gives no access.

Parses only the required fields of the protobuf messages (onnx.proto3 of github.com/onnx/onnx), so that running a model
does not require the ``onnx`` package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detdiffusion.utils.errors import UserError, some

_FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}
_BFLOAT16 = 16
_MULTIPLY = {"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "LayerNormalization"}
"""Operators whose weights must be finite. Elsewhere, infinity may be a mask or a disabled anchor."""


def check_weights(path: str | Path) -> list[Path]:
    """Check that no weights are NaN, and that the weights of multiplying operators are finite.

    The outputs of such a model need not be NaN: with a maximum or NMS in the graph, it may just detect nothing.

    Args:
        path: an ``.onnx`` file that onnxruntime has opened.

    Returns:
        Sorted paths of the model's external data files.

    Raises:
        UserError: there are such weights; the message gives their number and the first names.
    """
    found = _Weights([], set())
    found.add(memoryview(Path(path).read_bytes()), _MODEL)
    not_finite, files = [], set()
    for tensor in found.tensors:
        values, file = _values(tensor, Path(path).parent)
        files |= {file} - {None}
        name = _text(tensor, 8)
        if np.isnan(values).any() or (name in found.multiplying and np.isinf(values).any()):
            bad = values.size - int(np.isfinite(values).sum())
            not_finite.append(f"{name or 'a constant'} ({bad} of {values.size} values)")
    if not_finite:
        raise UserError(
            f"{path}: {len(not_finite)} of {len(found.tensors)} weights are NaN or infinite: {some(not_finite)}; the "
            "model was exported from damaged weights, or they overflowed in float16: export it again"
        )
    return sorted(files)


# Fields that contain other messages: message type by field number.
_GRAPH: dict[int, object] = {5: "tensor"}  # initializer
_ATTRIBUTE: dict[int, object] = {5: "tensor", 10: "tensor", 6: _GRAPH, 11: _GRAPH}
_NODE: dict[int, object] = {5: _ATTRIBUTE}
_GRAPH[1] = _NODE
_MODEL: dict[int, object] = {7: _GRAPH, 25: {7: _NODE}}  # graph, functions


@dataclass
class _Weights:
    """Tensors of a model, and the names of the inputs of multiplying operators."""

    tensors: list[memoryview]
    multiplying: set[str]

    def add(self, message: memoryview, kind: dict) -> None:
        if kind is _NODE and _text(message, 4) in _MULTIPLY:
            inputs = {str(value, "utf-8") for number, value in _fields(message) if number == 1}
            self.multiplying |= inputs - {""}  # "" is an omitted optional input
        for number, value in _fields(message):
            inner = kind.get(number)
            if inner == "tensor":
                self.tensors.append(value)
            elif inner is not None:
                self.add(value, inner)


def _values(tensor: memoryview, folder: Path) -> tuple[np.ndarray, Path | None]:
    """Return the values of a float tensor (none for other types), and its external data file or None."""
    kind, raw, external = 0, b"", {}
    for number, value in _fields(tensor):
        if number == 2:
            kind = value
        elif number in (4, 9, 10):  # float_data, raw_data, double_data
            raw = raw + bytes(value) if number != 9 else value
        elif number == 5:  # int32_data, which stores float16 as integers
            raw = raw + np.array(_varints(value), np.uint16).tobytes()
        elif number == 13:
            external[_text(value, 1)] = _text(value, 2)
    file = folder / external["location"] if external else None
    if kind != _BFLOAT16 and kind not in _FLOATS:
        return np.zeros(0), file
    if file is not None:
        with open(file, "rb") as content:
            content.seek(int(external.get("offset", 0)))
            raw = content.read(int(external.get("length", -1)))
    if kind == _BFLOAT16:
        return (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32), file
    return np.frombuffer(raw, _FLOATS[kind]), file


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field of a protobuf message; a value is an integer or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value, at = message[at : at + size], at + size
        yield key >> 3, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _varints(value: int | memoryview) -> list[int]:
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


def _text(message: memoryview, field: int) -> str:
    return next((str(value, "utf-8") for number, value in _fields(message) if number == field), "")
