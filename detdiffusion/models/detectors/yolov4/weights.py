"""Darknet's ``.weights`` files: a header, then the float32 values of the convolutions in the network file's order.

For each convolution: the biases (with batch normalisation: beta, gamma, mean and variance), then the kernel
(out, in, height, width). The header is three int32 (major, minor, revision) and the number of images seen, a
uint64 since version 0.2 and a uint32 before (darknet ``parser.c``, ``load_weights_upto``).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic


@dataclass(frozen=True)
class Header:
    """Header of a weights file.

    Attributes:
        version: major, minor, revision.
        seen: number of images seen in training.
    """

    version: tuple[int, int, int] = (0, 2, 5)
    seen: int = 0

    @property
    def wide(self) -> bool:
        """Whether ``seen`` takes 8 bytes."""
        return self.version[0] * 10 + self.version[1] >= 2

    def to_bytes(self) -> bytes:
        return struct.pack("<3i", *self.version) + struct.pack("<Q" if self.wide else "<I", self.seen)


@dataclass(frozen=True)
class DarknetConvolution:
    """A convolution with its layer number in the network file.

    Attributes:
        index: layer number.
        conv, bn: the modules; ``bn`` is None without batch normalisation.
    """

    index: int
    conv: nn.Conv2d
    bn: nn.BatchNorm2d | None

    def tensors(self) -> list[Tensor]:
        """Return the tensors in the order of the file; they share the model's memory."""
        bn = self.bn
        first = [self.conv.bias] if bn is None else [bn.bias, bn.weight, bn.running_mean, bn.running_var]
        return [*first, self.conv.weight]


def read_weights(path: str | Path, convolutions: Sequence[DarknetConvolution]) -> Header:
    """Load the convolutions' weights from a file.

    Args:
        path: the file.
        convolutions: all convolutions of the network, in its order; modified in place, only if the file matches.

    Raises:
        UserError: the file does not exist, is not a weights file, or is too short (the message names the last
            complete layer) or too long.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such darknet weights file; check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot read this darknet weights file: {error.strerror}") from None
    header, start = _read_header(data, path)
    if (len(data) - start) % 4:
        raise UserError(
            f"{path}: {len(data) - start} bytes after the header are not a multiple of 4 (float32); the file "
            "is truncated or not a .weights file: download it again"
        )
    values = np.frombuffer(data, dtype="<f4", offset=start)
    ends = np.cumsum([sum(t.numel() for t in layer.tensors()) for layer in convolutions])
    if len(values) < ends[-1]:
        complete = int(np.searchsorted(ends, len(values), side="right"))
        if complete:
            last = f"the last complete one is layer {convolutions[complete - 1].index}"
        else:
            last = "none is complete"
        raise UserError(
            f"{path}: too short for this network: {len(values):,} values of {ends[-1]:,}, {complete} of "
            f"{len(convolutions)} convolutions ({last}); it is truncated, holds a backbone only, or belongs to "
            "another .cfg or number of classes"
        )
    if len(values) > ends[-1]:
        raise UserError(
            f"{path}: too long for this network: {len(values):,} values, {len(values) - ends[-1]:,} more than its "
            f"{len(convolutions)} convolutions have; it belongs to another .cfg or number of classes"
        )
    bad = ~np.isfinite(values)
    if bad.any():
        layer = convolutions[int(np.searchsorted(ends, int(bad.argmax()), side="right"))].index
        raise UserError(f"{path}: {bad.sum():,} values are not finite, the first in layer {layer}")
    tensors = [tensor for layer in convolutions for tensor in layer.tensors()]
    at = 0
    with torch.no_grad():
        for tensor in tensors:
            part = values[at : at + tensor.numel()].astype(np.float32)
            tensor.copy_(torch.from_numpy(part).view_as(tensor))
            at += tensor.numel()
    return header


def write_weights(
    path: str | Path, convolutions: Sequence[DarknetConvolution], header: Header | None = None
) -> None:
    """Write a file that darknet, OpenCV and :func:`read_weights` can read.

    Raises:
        UserError: the file cannot be written.
    """
    parts = [(header or Header()).to_bytes()]
    for layer in convolutions:
        parts += [
            t.detach().to("cpu", torch.float32).numpy().astype("<f4").tobytes() for t in layer.tensors()
        ]
    write_atomic(path, b"".join(parts))


def _read_header(data: bytes, path: Path) -> tuple[Header, int]:
    if len(data) < 16:
        raise UserError(f"{path}: {len(data)} bytes are too few for the header of a darknet weights file")
    version = struct.unpack_from("<3i", data)
    if not all(0 <= part <= 1000 for part in version):
        raise UserError(
            f"{path}: not a darknet weights file: its header gives version {'.'.join(map(str, version))}; is it a "
            "page, an archive or a checkpoint of another program?"
        )
    wide = Header(version).wide
    size = 20 if wide else 16
    if len(data) < size:
        raise UserError(f"{path}: {len(data)} bytes are too few for the header of a darknet weights file")
    return Header(version, struct.unpack_from("<Q" if wide else "<I", data, 12)[0]), size
