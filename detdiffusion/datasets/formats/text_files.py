"""Reading text files (lists of names, labels, class names) with any common encoding and line ends."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from detdiffusion.utils.errors import UserError

from .input_files import fold

BY_END = "path in a list that does not exist here: matched by its end"

# Order matters: UTF-32's mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def marked_encoding(data: bytes) -> str | None:
    """Return the encoding that the byte order mark specifies, or None if there is none."""
    return next((encoding for mark, encoding in _MARKS if data.startswith(mark)), None)


def read_text(path: str | Path) -> str:
    """Read a text file in UTF-8, or in the encoding of its byte order mark, which is removed.

    Raises:
        UserError: if the file does not exist or has another encoding.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    encoding = marked_encoding(data)
    if encoding is None and b"\0" in data:
        raise UserError(
            f"{path}: contains zero bytes: not a text file, or UTF-16 without a byte order mark; save it as UTF-8"
        )
    try:
        return data.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is not {(encoding or 'utf-8').upper()} text: byte {data[error.start]:#04x} at {error.start}; "
            "save it as UTF-8"
        ) from None


def read_lines(path: str | Path) -> list[tuple[int, str]]:
    """Return ``(number from 1, stripped line)`` for each line that is not blank.

    Raises:
        UserError: see :func:`read_text`.
    """
    lines = enumerate(re.split(r"\r\n|\r|\n", read_text(path)), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def tails(name: str, *bases: str) -> Iterator[str]:
    """Yield the relative paths under which a file from another machine may be found here, the longest first.

    For example, ``C:\\me\\set\\images\\0.jpg`` may be ``images/0.jpg`` here. The base name alone is yielded only if
    this drops no folder that distinguishes equal names: if the path is absolute, or the last folder is one of
    ``bases``.

    Args:
        name: a path with ``/`` or ``\\``, relative, absolute or with a drive.
        bases: names of the folders in which the results are looked up.
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
