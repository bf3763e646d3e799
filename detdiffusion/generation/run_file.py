"""``run.json``: what a set is made of, and the lock of its folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import TEMPORARY, check_writable, write_atomic

from .manifest import lock

RUN = "run.json"
_FOR_THE_READER = {"checkpoint"}  # a file name: a renamed copy has the same checksum


def check_run(out_dir: Path, run: Mapping) -> None:
    """Whether a set with these facts can be made or continued in a folder; for before the model is loaded.

    Args:
        out_dir: the set's folder; it need not exist.
        run: the facts that are known already.

    Raises:
        UserError: the folder is a file, cannot be written, or holds another run or things that are no set.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise UserError(f"{out_dir}: `out` is a file, but a folder is wanted")
    if (out_dir / RUN).exists():
        _compare(out_dir, json.loads(json.dumps(run)), set(run))
    elif out_dir.exists():
        _check_empty(out_dir)
    check_writable(out_dir)


def open_run(out_dir: Path, run: Mapping, patience: float) -> int:
    """Writes ``run.json`` or compares it, and locks it.

    Args:
        out_dir: the set's folder.
        run: json-able facts that must be equal whenever the set is continued.
        patience: seconds to wait for an earlier run that still holds the folder.

    Returns:
        The open file; the folder is this process's until it is closed.

    Raises:
        UserError: as :func:`check_run`; or another process holds the folder.
    """
    path = out_dir / RUN
    if not path.exists():
        _check_empty(out_dir)
        write_atomic(path, json.dumps(run, indent=2).encode())
    fd = os.open(path, os.O_RDWR)
    try:
        lock(fd, out_dir, patience)
        if not os.path.samestat(os.fstat(fd), os.stat(path)):  # two first starts at once: the other one won
            raise UserError(f"{out_dir}: another process is generating into this folder")
        _compare(out_dir, run)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_empty(out_dir: Path) -> None:
    foreign = sorted(p.name for p in out_dir.iterdir() if not p.name.startswith(TEMPORARY))
    if foreign:
        raise UserError(
            f"{out_dir}: holds {foreign[0]!r} ({len(foreign)} entries) but no {RUN}, so it is not a set to continue; "
            "choose another `out`"
        )


def _compare(out_dir: Path, run: Mapping, keys: set[str] | None = None) -> None:
    """UserError if the folder's run differs, in ``keys`` or anywhere."""
    try:
        earlier = json.loads((out_dir / RUN).read_text())
    except ValueError:
        earlier = None
    except OSError as error:
        raise UserError(f"{out_dir / RUN}: cannot be read: {error.strerror or error}") from error
    if not isinstance(earlier, dict):
        raise UserError(f"{out_dir / RUN}: broken json; remove the folder or choose another `out`")
    differing = [
        f"{key}: {earlier.get(key)!r} there, {run.get(key)!r} now"
        for key in sorted((keys or {*earlier, *run}) - _FOR_THE_READER)
        if earlier.get(key) != run.get(key)
    ]
    if differing:
        raise UserError(
            f"{out_dir}: holds another run ({'; '.join(differing)}); continue it with the same settings or choose "
            "another `out`"
        )
