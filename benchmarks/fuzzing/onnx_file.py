"""Write ONNX models with constant outputs: a detector with the same result for every image.

The protobuf wire format is written by hand (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), so that no package
except onnxruntime is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

TYPES = {"float32": 1, "uint8": 2, "int32": 6, "int64": 7, "float16": 10, "float64": 11}


def write_constant_model(
    path: Path,
    outputs: Mapping[str, np.ndarray],
    shape: Sequence[int | str] = (1, 3, 64, 64),
    dtype: str = "float32",
) -> None:
    """Write a model with one input, which it ignores.

    Args:
        path: the ``.onnx`` file.
        outputs: arrays by name, with types of :data:`TYPES`.
        shape: shape of the input; a string is a dynamic side.
        dtype: type of the input.
    """
    graph = b""
    for name, array in outputs.items():
        node = _text(1, f"{name}_value") + _text(2, name) + _text(4, "Identity")
        tensor = b"".join(_number(1, n) for n in array.shape) + _number(2, TYPES[array.dtype.name])
        tensor += _text(8, f"{name}_value") + _bytes(9, np.ascontiguousarray(array).tobytes())
        graph += _bytes(1, node) + _bytes(5, tensor)
    graph += _text(2, "constant") + _bytes(11, _value("images", dtype, shape))
    graph += b"".join(_bytes(12, _value(n, a.dtype.name, a.shape)) for n, a in outputs.items())
    opset = _text(1, "") + _number(2, 13)
    path.write_bytes(_number(1, 8) + _bytes(7, graph) + _bytes(8, opset))


def _value(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    sides = b"".join(_bytes(1, _text(2, n) if isinstance(n, str) else _number(1, n)) for n in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, TYPES[dtype]) + _bytes(2, sides)))


def _varint(value: int) -> bytes:
    parts = []
    while True:
        value, low = value >> 7, value & 0x7F
        parts.append(low | (0x80 if value else 0))
        if not value:
            return bytes(parts)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
