"""Image files of 16 bits a channel: which bits they use, and the upper eight of those.

Cameras write 10, 12 or 14 bits into 16 and leave the upper ones 0; cut to the upper byte such images would be dark.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

import numpy as np
from PIL import Image

from .image_ends import png_chunks, tiff_entries
from .transparency import is_transparent

_DEPTHS = (8, 10, 12, 14, 16)
_MAX_SAMPLE_VALUE, _BITS_PER_SAMPLE, _ORIENTATION, _EXTRA_SAMPLES = 281, 258, 274, 338


def is_deep(file: Image.Image) -> bool:
    """Whether an opened file, not decoded yet, has 16 bits a channel."""
    if file.mode.startswith("I"):
        return True
    if file.format not in ("PNG", "TIFF") or not getattr(file, "tile", None):
        return False
    arguments = file.tile[0][3]
    raw = arguments if isinstance(arguments, str) else arguments[0]
    return ";16" in str(raw)


def cut_to_8_bits(file: Image.Image, stream: BinaryIO) -> tuple[Image.Image, int, bool]:
    """An image of 16 bits as one of 8.

    Args:
        file: decoded.
        stream: of the file; of colour images Pillow keeps the upper bytes only, OpenCV reads the whole values.

    Returns:
        ``(image, bits that it uses, whether it is turned as file is)``: grey or RGB, with alpha where the file has
        it. The bits are those that the file declares (PNG's sBIT, TIFF's MaxSampleValue), else the least of 8, 10, 12,
        14 and 16 that hold its largest value that is to be seen.

    Raises:
        ValueError: colours that OpenCV does not read.
    """
    grey = file.mode.startswith("I")
    values = np.asarray(file).astype(np.uint16)[..., None] if grey else _colours(file, stream)
    colours, alpha = values[..., :3], _alpha(file, values)
    seen = colours if alpha is None else colours[alpha[..., 0] > 0]
    declared = _declared_bits(file, stream)
    bits = _depth(seen, declared)
    cut = _upper_8_bits(colours, bits)
    if alpha is not None:
        cut = np.dstack([cut, _upper_8_bits(alpha, _depth(alpha, bits))])
    return Image.fromarray(cut[..., 0] if cut.shape[2] == 1 else cut), bits, grey


def _depth(values: np.ndarray, least: int) -> int:
    """How many bits hold all values: at least ``least``."""
    largest = int(values.max(initial=0))
    return next(bits for bits in sorted({*_DEPTHS, least}) if bits >= least and largest < 1 << bits)


def _upper_8_bits(values: np.ndarray, bits: int) -> np.ndarray:
    return np.minimum(values >> (bits - 8), 255).astype(np.uint8)


def _alpha(file: Image.Image, values: np.ndarray) -> np.ndarray | None:
    """(H, W, 1) uint16, None where everything is opaque; a fourth channel may be something else."""
    if not is_transparent(file):
        return None
    if values.shape[2] == 4:
        return values[..., 3:]
    clear = (values == np.array(file.info["transparency"])).all(axis=2, keepdims=True)
    return np.where(clear, 0, 65535).astype(np.uint16)


def _colours(file: Image.Image, stream: BinaryIO) -> np.ndarray:
    """(H, W, 3 or 4) uint16 RGB(A), as stored, not multiplied by alpha."""
    import cv2

    stream.seek(0)
    data = bytearray(stream.read())
    if file.format == "TIFF":
        _forget_orientation(data)
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise ValueError("16 bits a channel in a form that is not known; save it as 8-bit RGB")
    if values.ndim == 2:
        values = values[..., None].repeat(3, axis=2)
    values = values[..., [2, 1, 0, 3][: values.shape[2]]]
    if (
        values.shape[2] == 4
        and file.format == "TIFF"
        and 1 in np.atleast_1d(file.tag_v2.get(_EXTRA_SAMPLES, 0))
    ):
        straight = values[..., :3] * (65535 / np.maximum(values[..., 3:], 1))
        values[..., :3] = np.minimum(straight, 65535).round()
    return values


def _forget_orientation(tiff: bytearray) -> None:
    """OpenCV turns a TIFF by its tag whatever it is told, and fails at a quarter turn."""
    for tag, _, _, place, order in tiff_entries(io.BytesIO(tiff)):
        if tag == _ORIENTATION:
            struct.pack_into(order + "H", tiff, place, 1)


def _declared_bits(file: Image.Image, stream: BinaryIO) -> int:
    """What a file says of the bits that it uses; 8 where it says nothing."""
    if file.format == "PPM":  # Pillow spreads its values over all 16
        return 16
    bits = 0
    if file.format == "TIFF":
        largest, width = (file.tag_v2.get(tag) or (0,) for tag in (_MAX_SAMPLE_VALUE, _BITS_PER_SAMPLE))
        bits = max(largest if isinstance(largest, tuple) else (largest,)).bit_length()
        bits = bits or max(width) % 16  # packed 12 bits, say
    elif file.format == "PNG":
        for name, length, start in png_chunks(stream):
            if name == b"sBIT":
                stream.seek(start)
                bits = max(stream.read(min(length, 3)))
                break
    return bits if 8 <= bits <= 16 else 8
