"""Atomic file writes, write-permission checks and file digests."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from .errors import UserError

TEMPORARY = ".tmp-"
"""Prefix of the names of temporary files."""


def write_atomic(path: str | os.PathLike, data: bytes) -> None:
    """Writes ``data`` to ``path`` by temporary file, fsync and rename; creates missing parent folders.

    If writing fails or is interrupted, an existing file stays as it was.

    Raises:
        UserError: if the folder or file cannot be written (read-only, full disk, a file in place of a folder).
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}"
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
    except OSError as err:
        raise UserError(f"{path}: cannot write: {err.strerror or err}") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def check_writable(path: str | os.PathLike, name: str = "`out`") -> None:
    """Checks that a file or folder can be created at a path; call it before the work that produces it.

    Args:
        path: need not exist.
        name: name of the argument, used in the error message.

    Raises:
        UserError: if a file is in place of a folder, or the location is read-only.
    """
    wanted = place = Path(path).absolute()
    try:
        while not place.exists():
            place = place.parent
        if place != wanted and not place.is_dir():
            raise UserError(f"{path}: {name} cannot be created: {place} is a file, not a folder")
        if not place.is_dir():  # a new file will replace it
            place = place.parent
        if not os.access(place, os.W_OK):
            raise UserError(f"{path}: {name} cannot be written: {place} is read-only for this user")
    except OSError as err:
        raise UserError(f"{path}: {name} cannot be created: {err.strerror or err}") from None


def check_not_input(
    path: str | os.PathLike, inputs: Iterable[str | os.PathLike | None], name: str = ""
) -> None:
    """Checks that an output file is none of the inputs.

    Args:
        path: the output.
        inputs: the inputs; None for those that were not given.
        name: name of the argument, used in the error message.

    Raises:
        UserError: if it is one of them.
    """
    if Path(path).resolve() in {Path(given).resolve() for given in inputs if given is not None}:
        subject = f"{name} " if name else ""
        raise UserError(f"{path}: {subject}would overwrite an input file; choose another name")


def list_files(folder: str | os.PathLike, without: str | os.PathLike | None = None) -> bytes:
    """Return the names, sizes and times of all files below a folder, a line each, sorted: other bytes where a file has
    changed, without reading it.

    Args:
        folder: the folder, whose hidden folders are left out, or one file.
        without: a folder that is left out.
    """
    left_out, folder, lines = Path(without).resolve() if without else None, Path(folder), []
    if folder.is_file():
        return _line(folder, folder.name)
    for place, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if name[0] != "." and Path(place, name).resolve() != left_out]
        paths = [Path(place, name) for name in names]
        lines += [_line(path, path.relative_to(folder)) for path in paths]
    return b"".join(sorted(lines))


def _line(path: Path, name: str | Path) -> bytes:
    facts = path.stat() if path.exists() else path.lstat()
    return f"{name} {facts.st_size} {facts.st_mtime_ns}\n".encode(errors="surrogateescape")


def folder_size(folder: str | os.PathLike) -> int:
    """Return the bytes of all files below a folder, without those that vanish meanwhile; 0 if there is no folder."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                size += os.lstat(os.path.join(place, name)).st_size
    return size


def sha256_of(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file's bytes as a hexadecimal string."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
