"""Where an image file should end, by its header alone: cheap enough to look at every file before a long run."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image

_TAIL = 64
_STRIPS, _TILES = (273, 279), (324, 325)


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
        return _end_of_tiff(file) > length
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


def _end_of_tiff(file: Image.Image) -> int:
    end = 0
    for starts, sizes in (_STRIPS, _TILES):
        places, lengths = file.tag_v2.get(starts, ()), file.tag_v2.get(sizes, ())
        end = max([end, *(int(a) + int(b) for a, b in zip(places, lengths))])
    return end


def _end_of_tiles(file: Image.Image) -> int:
    """Of an uncompressed BMP: its pixels' start and their rows of whole words."""
    ends = [0]
    for tile in getattr(file, "tile", ()):
        if tile[0] == "raw":
            ends.append(tile[2] + int(tile[3][1]) * file.height)
    return max(ends)
