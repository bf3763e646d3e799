"""Where an image file should end, by its header alone: cheap enough to look at every file before a long run."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image

_TAIL = 64
_STRIPS, _TILES = (273, 279), (324, 325)
_TYPE_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # bytes of a TIFF's types, else 1


def seems_cut_off(file: Image.Image, stream: BinaryIO) -> bool:
    """Whether a file lacks its end or is shorter than its header says; only decoding tells whether pixels are missing.

    Args:
        file: opened by Pillow, not decoded.
        stream: of the file; its place is changed.
    """
    length = stream.seek(0, os.SEEK_END)
    if file.format == "PNG":
        return all(name != b"IEND" for name, *_ in png_chunks(stream))
    if file.format in ("JPEG", "MPO", "GIF"):
        stream.seek(max(0, length - _TAIL))
        tail = stream.read()
        return not tail.rstrip(b"\0").endswith(b";") if file.format == "GIF" else b"\xff\xd9" not in tail
    if file.format == "TIFF":
        return _end_of_tiff(file, stream) > length
    stream.seek(0)
    head = stream.read(8)
    if file.format == "WEBP":
        return struct.unpack_from("<I", head, 4)[0] + 8 > length
    if file.format == "BMP":
        return max(struct.unpack_from("<I", head, 2)[0], _end_of_tiles(file)) > length
    return True  # a format without a rule here


def tells_late(file: Image.Image, stream: BinaryIO) -> bool:
    """Whether a PNG has chunks of text or EXIF data behind its pixels, where opening it does not look."""
    if file.format != "PNG":
        return False
    behind = False
    for name, *_ in png_chunks(stream):
        behind = behind or name == b"IDAT"
        if behind and name in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
            return True
    return False


def png_chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Name, length and start of the content of each chunk that is whole."""
    length, place = stream.seek(0, os.SEEK_END), 8
    while place + 12 <= length:
        stream.seek(place)
        size, name = struct.unpack(">I4s", stream.read(8))
        if place + 12 + size > length:
            return
        yield name, size, place + 8
        place += 12 + size


def tiff_entries(stream: BinaryIO) -> Iterator[tuple[int, int, int, int, str]]:
    """The first directory of a TIFF: tag, type, number of values, place of the value or of its own place, byte order.

    Raises:
        struct.error: the file ends within it.
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
    """Of its pixels, and of the values of its tags."""
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
    """Of an uncompressed BMP: its pixels' start and their rows of whole words."""
    ends = [0]
    for tile in getattr(file, "tile", ()):
        if tile[0] == "raw":
            ends.append(tile[2] + int(tile[3][1]) * file.height)
    return max(ends)
