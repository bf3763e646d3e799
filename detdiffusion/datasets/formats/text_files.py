"""Text files that people and tools write: lists of names, labels, class names, in whatever encoding and line ends."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from detdiffusion.utils.errors import UserError

from .input_files import fold

BY_END = "path in a list that is not here: found by its end"

# The longer marks first: UTF-32's begins as UTF-16's does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def marked_encoding(data: bytes) -> str | None:
    """The encoding that a byte order mark tells, or None without one."""
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, or in what its byte order mark says; the mark is no part of it.

    Raises:
        UserError: no such file, or another encoding.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    encoding = marked_encoding(data)
    if encoding is None and b"\0" in data:
        raise UserError(f"{path}: holds zero bytes: no text, or UTF-16 without its mark; save it as UTF-8")
    try:
        return data.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is no {(encoding or 'utf-8').upper()} text: byte {data[error.start]:#04x} at {error.start}; "
            "save it as UTF-8"
        ) from None


def read_lines(path: str | Path) -> list[tuple[int, str]]:
    """(number from 1, line without outer spaces) of all lines with text in them.

    Raises:
        UserError: see :func:`read_text`.
    """
    lines = enumerate(re.split(r"\r\n|\r|\n", read_text(path)), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def tails(name: str, *bases: str) -> Iterator[str]:
    """A path of another machine as the relative paths that it can be here, from the longest on.

    ``C:\\me\\set\\images\\0.jpg`` lies here as ``images/0.jpg``. The bare name is among them only where no folder is
    lost by it that tells equal names apart: the path is absolute, or the folder before the name is one of ``bases``.

    Args:
        name: with ``/`` or ``\\``, relative, absolute or with a drive.
        bases: names of the folders that the results are looked for in.
    """
    plain = name.strip().replace("\\", "/")
    parts = [part for part in re.sub(r"^[A-Za-z]:", "", plain).split("/") if part not in ("", ".")]
    absolute = bool(re.match(r"[A-Za-z]:|/", plain))
    while ".." in parts:
        parts = parts[parts.index("..") + 1 :]
    for start in range(len(parts)):
        bare = start == len(parts) - 1
        if not bare or start == 0 or absolute or fold(parts[start - 1]) in map(fold, bases):
            yield "/".join(parts[start:])
