"""The manifest of a synthetic set: one json line an image, appended and fsynced after its image is in place.

``manifest.jsonl`` is the set's; rank N > 0 of a run on several ranks appends to a part of its own,
``manifest.rankN.jsonl``, which the first rank of this or of the next run merges. So no two processes ever write
into one file, whatever is killed when.
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

MANIFEST = "manifest.jsonl"
_PART = re.compile(r"manifest\.rank(\d+)\.jsonl")
_CHECK = "line_check"
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


def part_path(out_dir: Path, rank: int) -> Path:
    """The file that a rank appends to."""
    return out_dir / (MANIFEST if rank == 0 else f"manifest.rank{rank}.jsonl")


def find_parts(out_dir: Path) -> list[Path]:
    """The parts of ranks above 0, in their order."""
    parts = [(int(match[1]), p) for p in out_dir.iterdir() if (match := _PART.fullmatch(p.name))]
    return [path for _, path in sorted(parts)]


def image_key(entry: dict) -> tuple:
    """The order of a finished set: source image, sample, id, however the images came."""
    image = entry["image"]
    return image.get("source_image_id", 0), image.get("sample_index", 0), image["id"]


def dump_entry(entry: dict) -> bytes:
    """One line with its end; its last value is a checksum of all others, so that a changed line is known."""
    text = _text(entry)
    return f'{text[:-1]},"{_CHECK}":"{_checksum(text)}"}}\n'.encode()


def read_entries(path: Path) -> tuple[list[dict], bool]:
    """All whole lines of a manifest, and whether a torn one follows.

    Raises:
        UserError: a whole line that is no entry, that was changed after it was written, or that names a file outside
            of the set.
    """
    whole, _, tail = path.read_bytes().rpartition(b"\n")
    lines = whole.split(b"\n") if whole else []
    return [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)], bool(tail)


class ManifestFile:
    """A manifest opened for appending, and locked: nobody else appends to it as long as it is open.

    Args:
        path: made if missing.
        patience: seconds to wait for another process that holds it.

    Raises:
        UserError: another process holds it.
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
        """Adds a whole line, durably, or none of it (OSError)."""
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
    """An exclusive lock, held until ``fd`` is closed or its process ends, by whatever means.

    Locks are on files opened for writing, which is what they need on NFS; a file system without locks is used
    without.

    Raises:
        UserError: another process holds it after ``patience`` seconds.
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
                    "again (ranks that lost their launcher stop by themselves after their batch)"
                ) from error
            time.sleep(min(0.2, patience))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return print(
                f"{folder}: this file system has no locks; see to it that one run at a time writes here"
            )


def file_fault(path: Path, entry: dict, checksum: bool) -> str | None:
    """Why an entry's file cannot be used: 'missing_files', 'damaged_files', or None."""
    try:
        if path.stat().st_size != entry["bytes"]:
            return "damaged_files"
        if checksum and hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            return "damaged_files"
    except FileNotFoundError:
        return "missing_files"
    return None


def latest(entries: Iterable[dict]) -> tuple[dict[int, dict], int]:
    """Entries by image id, a later line before an earlier one; and how many gave way to a different one."""
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
            f"{where}: not an entry of a manifest (only a torn last line is normal after a kill); "
            "remove that line and run again: its image is made anew"
        )
    check_file_name(image["file_name"], where)
    if check is not None and check != _checksum(_text(entry)):
        raise UserError(
            f"{where} (image id {image['id']}): was changed after it was written, its checksum is another; remove that "
            "line and run again: its image is made anew"
        )
    return entry
