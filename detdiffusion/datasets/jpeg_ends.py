"""JPEG files without an end marker: distinguish those that lack only the marker from those that lack pixels."""

from __future__ import annotations

import functools
import io
import os
from pathlib import Path
from typing import BinaryIO

from PIL import Image

_END, _TAIL, _ZEROS = b"\xff\xd9", 64, bytes(16)
_FILLER = b"\xaa\x55" * 2048  # stands in for any data that the decoder still expects


def has_end_marker(stream: BinaryIO) -> bool:
    """Return whether the last bytes of a JPEG file have an end marker; changes the stream's position."""
    length = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, length - _TAIL))
    return _END in stream.read()


def mended_jpeg(stream: BinaryIO, path: str | Path) -> io.BytesIO | None:
    """Return a JPEG file with an end marker appended to its pixels, or None if it does not need one.

    Args:
        stream: stream of the file; its position is changed.
        path: path of the file. Results are cached per process, path, size and modification time, because files with
            other data after the image, as some cameras write them, are decoded up to three times.

    Raises:
        OSError: if pixels are missing, i.e. the file is truncated.
    """
    if has_end_marker(stream):
        return None
    stat = os.fstat(stream.fileno())
    verdict = _verdict(str(path), stat.st_size, stat.st_mtime_ns)
    if verdict == "complete":
        return None
    if verdict == "truncated":
        raise OSError("image file is truncated")
    return io.BytesIO(_body(Path(path).read_bytes()) + _END)


@functools.lru_cache(maxsize=1 << 16)
def _verdict(path: str, size: int, mtime_ns: int) -> str:
    """Return 'complete' (with other data after the image), 'unmarked' (lacks only the end marker) or 'truncated'."""
    data = Path(path).read_bytes()
    if not data.endswith(_ZEROS) and _pixels(data) is not None:
        return "complete"
    # A decoder uses appended data in place of missing pixels, but skips it after a complete image.
    body = _body(data)
    ends = [_pixels(body + filler + _END) for filler in (b"", _FILLER)]
    return "truncated" if ends[0] is None or ends[0] != ends[1] else "unmarked"


def _body(data: bytes) -> bytes:
    """Remove a partial end marker, and trailing zeros of a download whose file was allocated but not filled."""
    return (data.rstrip(b"\0") if data.endswith(_ZEROS) else data).rstrip(b"\xff")


def _pixels(data: bytes) -> bytes | None:
    """Return the pixels that Pillow decodes, or None if it rejects the file."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.tobytes()
    except (OSError, SyntaxError, ValueError):
        return None
