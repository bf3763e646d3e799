"""The manifest of a synthetic set: one json line per image, appended and fsynced after the image is written.

Rank 0 appends to ``manifest.jsonl``; every other rank N appends to its own ``manifest.rankN.jsonl``, which rank 0
merges at the end of this run or at the start of the next one. No two processes write to the same file, even after
some of them are killed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.file_names import check_file_name
from detdiffusion.utils.files import sha256_of

MANIFEST = "manifest.jsonl"
_PART = re.compile(r"manifest\.rank(\d+)\.jsonl")
_CHECK = "line_check"
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


def part_path(out_dir: Path, rank: int) -> Path:
    """Return the file that a rank appends to."""
    return out_dir / (MANIFEST if rank == 0 else f"manifest.rank{rank}.jsonl")


def find_parts(out_dir: Path) -> list[Path]:
    """Return the manifests of the ranks above 0, in order."""
    parts = [(int(match[1]), p) for p in out_dir.iterdir() if (match := _PART.fullmatch(p.name))]
    return [path for _, path in sorted(parts)]


def image_key(entry: dict) -> tuple:
    """Return the sort key of a finished set: source image id, sample index, image id."""
    image = entry["image"]
    return image.get("source_image_id", 0), image.get("sample_index", 0), image["id"]


def dump_entry(entry: dict) -> bytes:
    """Serialise an entry as one line, whose last value is a checksum of the others to detect changes."""
    text = _text(entry)
    return f'{text[:-1]},"{_CHECK}":"{_checksum(text)}"}}\n'.encode()


def read_entries(path: Path) -> tuple[list[dict], bool]:
    """Read the complete lines of a manifest; also return whether an incomplete one follows.

    Raises:
        UserError: a complete line is not an entry, was changed after it was written, or names a file outside of the
            set.
    """
    complete, _, tail = path.read_bytes().rpartition(b"\n")
    lines = complete.split(b"\n") if complete else []
    return [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)], bool(tail)


class ManifestFile:
    """A manifest opened for appending and locked, so that no other process can append to it while it is open.

    Args:
        path: the manifest; created if missing.
        patience: seconds to wait for another process that has locked it.

    Raises:
        UserError: another process has locked it.
    """

    def __init__(self, path: Path, patience: float = 0.0) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            lock(self._fd, path.parent, patience)
        except BaseException:
            self.close()
            raise

    def append(self, entry: dict) -> None:
        """Append a line and fsync it; if this fails (OSError), nothing of the line remains."""
        line, size = dump_entry(entry), os.fstat(self._fd).st_size
        try:
            if os.write(self._fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, size)
            raise

    def close(self) -> None:
        os.close(self._fd)


def lock(fd: int, folder: Path, patience: float = 0.0) -> None:
    """Acquire an exclusive lock, held until ``fd`` is closed or the process ends for any reason.

    The file must be opened for writing, as locks on NFS require it. On a file system without locks, a warning is
    printed instead.

    Raises:
        UserError: another process still holds the lock after ``patience`` seconds.
    """
    end, waiting = time.monotonic() + patience, False
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if patience and not waiting:
                waiting = True
                print(f"{folder}: in use by another process; waiting {patience:g} s for it", flush=True)
            if time.monotonic() >= end:
                raise UserError(
                    f"{folder}: another process is generating into this folder; wait for it, or stop it and run "
                    "again (ranks whose launcher was killed stop by themselves after their current batch)"
                ) from error
            time.sleep(min(0.2, patience))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return print(
                f"{folder}: this file system has no locks; make sure that only one run at a time writes here"
            )


def file_fault(path: Path, entry: dict, checksum: bool) -> str | None:
    """Return why an entry's file cannot be used, 'missing_files' or 'damaged_files', or None if it can."""
    try:
        if path.stat().st_size != entry["bytes"]:
            return "damaged_files"
        if checksum and sha256_of(path) != entry["sha256"]:
            return "damaged_files"
    except FileNotFoundError:
        return "missing_files"
    return None


def latest(entries: Iterable[dict]) -> tuple[dict[int, dict], int]:
    """Return the last entry of each image id, and the number of entries replaced by a different one."""
    found: dict[int, dict] = {}
    superseded = 0
    for entry in entries:
        key = entry["image"]["id"]
        superseded += key in found and found[key] != entry
        found[key] = entry
    return found, superseded


def _text(entry: dict) -> str:
    return json.dumps(entry, separators=(",", ":"))


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _parse(line: bytes, where: str) -> dict:
    check = None
    try:
        entry = json.loads(line)
        check = entry.pop(_CHECK, None)  # sets of earlier versions have none
        image = entry["image"]
        fits = isinstance(image["id"], int) and isinstance(entry["annotations"], list)
        fits = fits and isinstance(entry["sha256"], str) and isinstance(entry["bytes"], int)
        fits = fits and "file_name" in image
    except (ValueError, KeyError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise UserError(
            f"{where}: not an entry of a manifest (only an incomplete last line is normal after a kill); "
            "remove that line and run again: its image will be generated again"
        )
    check_file_name(image["file_name"], where)
    if check is not None and check != _checksum(_text(entry)):
        raise UserError(
            f"{where} (image id {image['id']}): was changed after it was written, its checksum differs; remove that "
            "line and run again: its image will be generated again"
        )
    return entry
