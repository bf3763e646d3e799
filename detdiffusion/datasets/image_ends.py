"""Detect truncated image files from their headers, which is cheap enough to check all files before a long run."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image

from .jpeg_ends import has_end_marker

_TAIL = 64
_STRIPS, _TILES = (273, 279), (324, 325)
_TYPE_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes of TIFF types; others have 1


def seems_cut_off(file: Image.Image, stream: BinaryIO) -> bool:
    """Return whether a file lacks its end marker or is shorter than its header says.

    Only decoding shows whether pixels are really missing.

    Args:
        file: the file, opened by Pillow, not decoded.
        stream: stream of the file; its position is changed.
    """
    length = stream.seek(0, os.SEEK_END)
    if file.format == "PNG":
        return all(name != b"IEND" for name, *_ in png_chunks(stream))
    if file.format in ("JPEG", "MPO"):
        return not has_end_marker(stream)
    if file.format == "GIF":
        stream.seek(max(0, length - _TAIL))
        return not stream.read().rstrip(b"\0").endswith(b";")
    if file.format == "TIFF":
        return _end_of_tiff(file, stream) > length
    stream.seek(0)
    head = stream.read(8)
    if file.format == "WEBP":
        return struct.unpack_from("<I", head, 4)[0] + 8 > length
    if file.format == "BMP":
        return max(struct.unpack_from("<I", head, 2)[0], _end_of_tiles(file)) > length
    return True  # unknown format: must be decoded


def tells_late(file: Image.Image, stream: BinaryIO) -> bool:
    """Return whether a PNG has text or EXIF chunks after its pixels, which Pillow does not read on opening."""
    if file.format != "PNG":
        return False
    after_pixels = False
    for name, *_ in png_chunks(stream):
        after_pixels = after_pixels or name == b"IDAT"
        if after_pixels and name in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
            return True
    return False


def png_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield ``(name, length, start of the content)`` of each complete chunk."""
    length, place = stream.seek(0, os.SEEK_END), 8
    while place + 12 <= length:
        stream.seek(place)
        size, name = struct.unpack(">I4s", stream.read(8))
        if place + 12 + size > length:
            return
        yield name, size, place + 8
        place += 12 + size


def tiff_entries(stream: BinaryIO) -> Iterator[tuple[int, int, int, int, str]]:
    """Yield the entries of a TIFF's first directory.

    Yields:
        ``(tag, type, count, position, byte order)``; the position is that of the value, or of the offset to it.

    Raises:
        struct.error: if the file ends within the directory.
    """
    stream.seek(0)
    order = {b"II": "<", b"MM": ">"}[stream.read(2)]
    magic, start = struct.unpack(order + "HI", stream.read(6))
    if magic != 42:  # BigTIFF has wider entries
        return
    stream.seek(start)
    (count,) = struct.unpack(order + "H", stream.read(2))
    for place in range(start + 2, start + 2 + 12 * count, 12):
        stream.seek(place)
        yield *struct.unpack(order + "HHI", stream.read(8)), place + 8, order


def _end_of_tiff(file: Image.Image, stream: BinaryIO) -> int:
    """Return the end of a TIFF's pixels and tag values."""
    ends = [0]
    for starts, sizes in (_STRIPS, _TILES):
        places, lengths = file.tag_v2.get(starts, ()), file.tag_v2.get(sizes, ())
        ends += [int(a) + int(b) for a, b in zip(places, lengths)]
    for _, kind, count, place, order in tiff_entries(stream):
        if (size := count * _TYPE_SIZES.get(kind, 1)) > 4:
            stream.seek(place)
            ends.append(struct.unpack(order + "I", stream.read(4))[0] + size)
    return max(ends)


def _end_of_tiles(file: Image.Image) -> int:
    """Return the end of an uncompressed BMP's pixels."""
    ends = [0]
    for tile in getattr(file, "tile", ()):
        if tile[0] == "raw":
            ends.append(tile[2] + int(tile[3][1]) * file.height)
    return max(ends)
