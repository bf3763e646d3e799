"""Conversion of image files with 16 bits per channel to the upper eight of the bits that they use.

Cameras store 10, 12 or 14 bits in 16 and leave the upper bits 0; such images would be dark if cut to the upper byte.
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
    """Return whether an opened file, not decoded yet, has 16 bits per channel."""
    if file.mode.startswith("I"):
        return True
    if file.format not in ("PNG", "TIFF") or not getattr(file, "tile", None):
        return False
    arguments = file.tile[0][3]
    raw = arguments if isinstance(arguments, str) else arguments[0]
    return ";16" in str(raw)


def cut_to_8_bits(file: Image.Image, stream: BinaryIO) -> tuple[Image.Image, int, bool]:
    """Convert an image from 16 to 8 bits per channel.

    Args:
        file: the decoded file.
        stream: the file's stream; colour images are read from it by OpenCV, because Pillow keeps only the upper bytes.

    Returns:
        ``(image, bits, rotated)``: a grey or RGB image, with alpha if the file has it; the number of bits in use,
        as declared by the file (PNG's sBIT, TIFF's MaxSampleValue), else the least of 8, 10, 12, 14 and 16 that holds
        its largest visible value; and whether the image has the orientation of ``file``, which Pillow may have changed.

    Raises:
        ValueError: if OpenCV cannot read the colours.
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
    """Return the number of bits that holds all values, at least ``least``."""
    largest = int(values.max(initial=0))
    return next(bits for bits in sorted({*_DEPTHS, least}) if bits >= least and largest < 1 << bits)


def _upper_8_bits(values: np.ndarray, bits: int) -> np.ndarray:
    return np.minimum(values >> (bits - 8), 255).astype(np.uint8)


def _alpha(file: Image.Image, values: np.ndarray) -> np.ndarray | None:
    """Return alpha as (H, W, 1) uint16, or None if the image is opaque (a fourth channel may be something else)."""
    if not is_transparent(file):
        return None
    if values.shape[2] == 4:
        return values[..., 3:]
    clear = (values == np.array(file.info["transparency"])).all(axis=2, keepdims=True)
    return np.where(clear, 0, 65535).astype(np.uint16)


def _colours(file: Image.Image, stream: BinaryIO) -> np.ndarray:
    """Return (H, W, 3 or 4) uint16 RGB(A), with the stored orientation and straight alpha."""
    import cv2

    stream.seek(0)
    data = bytearray(stream.read())
    if file.format == "TIFF":
        _forget_orientation(data)
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise ValueError("16 bits per channel in an unknown format; save it as 8-bit RGB")
    if values.ndim == 2:
        values = values[..., None].repeat(3, axis=2)
    values = values[..., [2, 1, 0, 3][: values.shape[2]]]
    is_rgba_tiff = values.shape[2] == 4 and file.format == "TIFF"
    if is_rgba_tiff and 1 in np.atleast_1d(file.tag_v2.get(_EXTRA_SAMPLES, 0)):
        straight = values[..., :3] * (65535 / np.maximum(values[..., 3:], 1))
        values[..., :3] = np.minimum(straight, 65535).round()
    return values


def _forget_orientation(tiff: bytearray) -> None:
    """Reset the orientation tag, because OpenCV always applies that of a TIFF and fails at a quarter turn."""
    for tag, _, _, place, order in tiff_entries(io.BytesIO(tiff)):
        if tag == _ORIENTATION:
            struct.pack_into(order + "H", tiff, place, 1)


def _declared_bits(file: Image.Image, stream: BinaryIO) -> int:
    """Return the number of bits that a file declares to use; 8 if it does not declare any."""
    if file.format == "PPM":  # Pillow scales its values to the full 16 bits
        return 16
    bits = 0
    if file.format == "TIFF":
        largest, width = (file.tag_v2.get(tag) or (0,) for tag in (_MAX_SAMPLE_VALUE, _BITS_PER_SAMPLE))
        bits = max(largest if isinstance(largest, tuple) else (largest,)).bit_length()
        bits = bits or max(width) % 16  # e.g. packed 12 bits
    elif file.format == "PNG":
        for name, length, start in png_chunks(stream):
            if name == b"sBIT":
                stream.seek(start)
                bits = max(stream.read(min(length, 3)))
                break
    return bits if 8 <= bits <= 16 else 8
