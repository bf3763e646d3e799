"""JPEG files without their end marker: those that lack nothing else are read, those that lack pixels are not."""

from __future__ import annotations

import functools
import io
import os
from pathlib import Path
from typing import BinaryIO

from PIL import Image

_END, _TAIL, _ZEROS = b"\xff\xd9", 64, bytes(16)
_FILLER = b"\xaa\x55" * 2048  # for any bits that a decoder still waits for


def mended_jpeg(stream: BinaryIO, path: str | Path) -> io.BytesIO | None:
    """A JPEG file with an end marker behind its pixels, or None where it has one already.

    Args:
        stream: of the file; its place is changed.
        path: of the file, which is judged once a process for every state of it: cameras write other things behind the
            image, and such files are decoded three times.

    Raises:
        OSError: pixels are missing: the file is truncated.
    """
    length = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, length - _TAIL))
    if _END in stream.read():
        return None
    stat = os.fstat(stream.fileno())
    verdict = _verdict(str(path), stat.st_size, stat.st_mtime_ns)
    if verdict == "whole":
        return None
    if verdict == "truncated":
        raise OSError("image file is truncated")
    return io.BytesIO(_body(Path(path).read_bytes()) + _END)


@functools.lru_cache(maxsize=1 << 16)
def _verdict(path: str, size: int, mtime_ns: int) -> str:
    """'whole' with other things behind it, 'unmarked' without its end marker alone, or 'truncated'."""
    data = Path(path).read_bytes()
    if not data.endswith(_ZEROS) and _pixels(data) is not None:
        return "whole"
    # In the place of pixels that are missing a decoder takes what comes; behind a whole image it skips it.
    body = _body(data)
    ends = [_pixels(body + filler + _END) for filler in (b"", _FILLER)]
    return "truncated" if ends[0] is None or ends[0] != ends[1] else "unmarked"


def _body(data: bytes) -> bytes:
    """Without half an end marker, and without the zeros of a download that was laid out and not filled."""
    return (data.rstrip(b"\0") if data.endswith(_ZEROS) else data).rstrip(b"\xff")


def _pixels(data: bytes) -> bytes | None:
    """By Pillow, or None where it refuses the file."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.tobytes()
    except (OSError, SyntaxError, ValueError):
        return None
