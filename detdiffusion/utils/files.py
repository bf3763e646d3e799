"""Files that are either as before or whole, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from .errors import UserError

TEMPORARY = ".tmp-"
"""How the names of temporary files begin."""


def write_atomic(path: str | os.PathLike, data: bytes) -> None:
    """Writes ``data`` to ``path`` by temporary file, fsync and rename; makes missing parent folders.

    Raises:
        UserError: the folder or file cannot be written (read-only, full disk, a file in a folder's place).
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, temporary = tempfile.mkstemp(prefix=f"{TEMPORARY}{path.name}-", dir=path.parent)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes private files
        os.replace(temporary, path)
        temporary = None
    except OSError as err:
        raise UserError(f"{path}: cannot write: {err.strerror or err}") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def check_writable(path: str | os.PathLike, name: str = "`out`") -> None:
    """Whether a file or folder can be made at a path: for before the work whose result goes there.

    Args:
        path: need not exist.
        name: of the argument, for the message.

    Raises:
        UserError: a file stands where a folder is wanted, or the place is read-only.
    """
    wanted = place = Path(path).absolute()
    try:
        while not place.exists():
            place = place.parent
        if place != wanted and not place.is_dir():
            raise UserError(f"{path}: {name} cannot be made: {place} is a file, no folder")
        if not place.is_dir():  # a new file takes its place
            place = place.parent
        if not os.access(place, os.W_OK):
            raise UserError(f"{path}: {name} cannot be written: {place} is read-only for this user")
    except OSError as err:
        raise UserError(f"{path}: {name} cannot be made: {err.strerror or err}") from None


def sha256_of(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
