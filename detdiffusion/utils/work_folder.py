"""Work folders that only one run at a time may use."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from .errors import UserError

_UNWANTED = ",[](){}='\""  # characters with a meaning in mmengine's key=value options


def seen_from(root: Path, path: str) -> Path:
    """Return a path for commands that run in ``root``: relative to it if it is inside, else absolute. So a file has one
    spelling, from wherever a tool is called, and the steps of a run have the same commands. The tool itself changes to
    ``root`` once it has all paths.

    Raises:
        UserError: if it contains characters with a meaning in config options.
    """
    seen = Path(os.path.abspath(path))
    if seen.is_relative_to(root.resolve()):
        seen = seen.relative_to(root.resolve())
    if any(character in str(seen) for character in _UNWANTED):
        raise UserError(f"{seen}: the path must not contain commas, brackets, quotes or =")
    return seen


def try_lock(path: Path) -> IO[str] | None:
    """Lock a file until this process and all processes that inherit it close it; None if it is locked already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def claim_folder(folder: Path, mark: str, option: str) -> None:
    """Create a folder and a marker file in it, or accept a folder that already has the marker.

    Args:
        folder: the folder.
        mark: name of the marker file that shows which tool owns the folder.
        option: the command-line flag, used in the error message.

    Raises:
        UserError: if the folder contains other files, but not the marker.
    """
    path = folder / mark
    if folder.exists() and not path.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and was not created by this tool; choose another {option}")
    folder.mkdir(parents=True, exist_ok=True)
    path.touch()
