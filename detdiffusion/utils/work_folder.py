"""A folder that one run at a time works in."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from .errors import UserError

_UNWANTED = ",[](){}='\""  # what mmengine's key=value options would take apart


def seen_from(root: Path, path: str) -> Path:
    """A path for commands that run in ``root``: there a relative one stays, from elsewhere it becomes absolute.

    Raises:
        UserError: it has characters that options of configs give a meaning to.
    """
    seen = Path(path) if Path.cwd().resolve() == root.resolve() else Path(path).resolve()
    if any(character in str(seen) for character in _UNWANTED):
        raise UserError(f"{seen}: a path without commas, brackets, quotes and = is wanted")
    return seen


def try_lock(path: Path) -> IO[str] | None:
    """Locks a file until it is closed, by this process and all that inherit it; None if another has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def claim_folder(folder: Path, mark: str, option: str) -> None:
    """Makes a folder, or takes one that carries the mark already.

    Args:
        mark: name of a file that says whose the folder is.
        option: of the command line, for the message.

    Raises:
        UserError: the folder holds other things.
    """
    path = folder / mark
    if folder.exists() and not path.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is no folder of this tool; choose another {option}")
    folder.mkdir(parents=True, exist_ok=True)
    path.touch()
