"""Atomic, resumable writer of synthetic COCO sets.

On disk::

    DIR/run.json            what the set is made of: strategy, seed, checkpoint, ...; written once
    DIR/images/NAME.png     one file an image: temporary file, fsync, rename
    DIR/manifest.jsonl      one line an image, appended and fsynced after its image is in place
    DIR/annotations.json    built from the manifest by finish(), atomically

A process killed at any moment leaves whole images and whole lines, but for at most one temporary file, one
image without a line and one torn last line; the next start clears all three.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from detdiffusion.generation.identity import check_unique
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.file_names import check_file_name
from detdiffusion.utils.files import write_atomic

_TEMP = ".tmp-"


class CocoWriter:
    """Writes images with their annotations, one durable step an image.

    Args:
        out_dir: the set's folder; made if missing.
        run: json-able facts that must be equal whenever the set is continued (strategy, seed, ...).
        categories: COCO category dicts, copied into ``annotations.json``.
        checksums: on start compare every finished file with its SHA-256 (else only its presence and size).

    Attributes:
        done: set of the image ids that are finished.
        report: counts of what the start found: ``resumed``, ``torn_lines``, ``missing_files``,
            ``damaged_files``, ``superseded_lines``, ``stray_files`` (temporary files and images
            without a line, both removed).

    Raises:
        UserError: the folder holds another run or foreign files, its manifest or run.json is broken, it
            cannot be written, or another process is writing into it.
    """

    def __init__(
        self, out_dir: str | os.PathLike, run: dict, categories: Sequence[dict], checksums: bool = True
    ) -> None:
        self.out_dir = Path(out_dir)
        self.images_dir = self.out_dir / "images"
        self.manifest_path = self.out_dir / "manifest.jsonl"
        self.run = json.loads(json.dumps(run))
        self.categories = [dict(category) for category in categories]
        self.report = dict.fromkeys(
            ("resumed", "torn_lines", "missing_files", "damaged_files", "superseded_lines", "stray_files"), 0
        )
        self._closers = contextlib.ExitStack()
        try:
            self._open(checksums)
        except OSError as error:
            self._closers.close()
            raise UserError(
                f"{self.out_dir}: cannot write the set here: {error.strerror or error}"
            ) from error
        except BaseException:
            self._closers.close()
            raise
        self.done = set(self._entries)

    def __enter__(self) -> CocoWriter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.done)

    def close(self) -> None:
        """Releases the folder; nothing is lost by not calling it."""
        self._closers.close()

    def add(
        self, image: np.ndarray, record: dict, annotations: Sequence[dict], extra: dict | None = None
    ) -> None:
        """Writes one image and its manifest line; durable when it returns.

        Args:
            image: (H, W, 3) uint8 RGB.
            record: COCO image dict with ``id``, ``file_name`` (inside ``images/``), ``width`` and ``height``.
            annotations: COCO annotation dicts of this image.
            extra: further facts for the manifest line only (prompt, noise seed, ...).

        Raises:
            ValueError: the image does not fit its record, or its id was written before.
            UserError: the disk refuses (full, read-only).
        """
        if image.dtype != np.uint8 or image.shape != (record["height"], record["width"], 3):
            raise ValueError(
                f"image {record['id']}: expected uint8 ({record['height']}, {record['width']}, 3), "
                f"got {image.dtype} {image.shape}"
            )
        if record["id"] in self.done:
            raise ValueError(f"image {record['id']} is already in {self.manifest_path}")
        name = check_file_name(record["file_name"], f"image {record['id']}")
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, format="png")
        data = buffer.getvalue()
        entry = {
            **(extra or {}),
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "image": record,
            "annotations": list(annotations),
        }
        try:
            write_atomic(self.images_dir / name, data)
            _sync_dir(self.images_dir)
            self._append(_line(entry))
        except (OSError, UserError) as error:
            message = (
                error if isinstance(error, UserError) else f"{self.manifest_path}: cannot write: {error}"
            )
            raise UserError(
                f"{message}; {len(self.done)} images are finished, run the same command again to continue"
            ) from error
        self._entries[record["id"]] = entry
        self.done.add(record["id"])

    def finish(self) -> Path:
        """Builds ``annotations.json`` from the manifest.

        Returns:
            Its path. Images are in the order of (source image id, sample index, id), however they came.

        Raises:
            UserError: two images or annotations share an id.
        """
        entries = sorted(
            self._entries.values(),
            key=lambda e: (
                e["image"].get("source_image_id", 0),
                e["image"].get("sample_index", 0),
                e["image"]["id"],
            ),
        )
        images = [entry["image"] for entry in entries]
        annotations = [annotation for entry in entries for annotation in entry["annotations"]]
        check_unique((annotation["id"] for annotation in annotations), "annotation")
        coco = {
            "info": {"description": "synthetic set of DetDiffusion", **self.run},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": self.categories,
        }
        path = self.out_dir / "annotations.json"
        write_atomic(path, json.dumps(coco).encode())
        return path

    def _append(self, line: bytes) -> None:
        """Adds a whole line to the manifest, or none of it."""
        size = os.fstat(self._manifest).st_size
        try:
            if os.write(self._manifest, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._manifest)
        except OSError:
            os.ftruncate(self._manifest, size)
            raise

    # What a start does, in this order.

    def _open(self, checksums: bool) -> None:
        self.out_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.out_dir, os.O_RDONLY)
        self._closers.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{self.out_dir}: another process is generating into this folder") from error
        self._check_run()
        self.images_dir.mkdir(exist_ok=True)
        self._read_manifest(checksums)
        self._remove_strays()
        self._manifest = os.open(self.manifest_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._closers.callback(os.close, self._manifest)
        _sync_dir(self.out_dir)

    def _check_run(self) -> None:
        path = self.out_dir / "run.json"
        if not path.exists():
            foreign = sorted(p.name for p in self.out_dir.iterdir() if not p.name.startswith(_TEMP))
            if foreign:
                raise UserError(
                    f"{self.out_dir}: holds {foreign[0]!r} ({len(foreign)} entries) but no run.json, so it "
                    "is not a set to continue; choose another --out"
                )
            write_atomic(path, json.dumps(self.run, indent=2).encode())
            return
        try:
            earlier = json.loads(path.read_text())
        except ValueError:
            earlier = None
        if not isinstance(earlier, dict):
            raise UserError(f"{path}: broken json; remove the folder or choose another --out")
        differing = [
            f"{key}: {earlier.get(key)!r} there, {self.run.get(key)!r} now"
            for key in sorted({*earlier, *self.run})
            if earlier.get(key) != self.run.get(key)
        ]
        if differing:
            raise UserError(
                f"{self.out_dir}: holds another run ({'; '.join(differing)}); continue it with the same "
                "settings or choose another --out"
            )

    def _read_manifest(self, checksums: bool) -> None:
        self._entries: dict[int, dict] = {}
        raw = self.manifest_path.read_bytes() if self.manifest_path.exists() else b""
        whole, _, tail = raw.rpartition(b"\n")
        self.report["torn_lines"] = int(bool(tail))
        lines = whole.split(b"\n") if whole else []
        for number, line in enumerate(lines, 1):
            where = f"{self.manifest_path}, line {number}"
            entry = _parse_entry(line, where)
            name = check_file_name(entry["image"]["file_name"], where)
            if entry["image"]["id"] in self._entries:
                self.report["superseded_lines"] += 1
            fault = _file_fault(self.images_dir / name, entry, checksums)
            if fault:
                self.report[fault] += 1
                self._entries.pop(entry["image"]["id"], None)
            else:
                self._entries[entry["image"]["id"]] = entry
        self.report["resumed"] = len(self._entries)
        if len(self._entries) != len(lines) or tail:
            write_atomic(self.manifest_path, b"".join(map(_line, self._entries.values())))

    def _remove_strays(self) -> None:
        known = {entry["image"]["file_name"] for entry in self._entries.values()}
        strays = [p for p in self.out_dir.iterdir() if p.name.startswith(_TEMP)]
        strays += [
            p
            for p in self.images_dir.iterdir()
            if p.name.startswith(_TEMP) or (p.suffix == ".png" and p.name not in known)
        ]
        for path in strays:
            path.unlink()
        self.report["stray_files"] = len(strays)


def _line(entry: dict) -> bytes:
    return (json.dumps(entry, separators=(",", ":")) + "\n").encode()


def _sync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _parse_entry(line: bytes, where: str) -> dict:
    try:
        entry = json.loads(line)
        image = entry["image"]
        fits = isinstance(image["id"], int) and isinstance(entry["annotations"], list)
        fits = (
            fits
            and isinstance(entry["sha256"], str)
            and isinstance(entry["bytes"], int)
            and "file_name" in image
        )
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise UserError(
            f"{where}: not an entry of a manifest (only a torn last line is normal after a kill); "
            "remove that line and run again: its image is made anew"
        )
    return entry


def _file_fault(path: Path, entry: dict, checksums: bool) -> str | None:
    """Why an entry's file cannot be used: a key of the report, or None."""
    try:
        if path.stat().st_size != entry["bytes"]:
            return "damaged_files"
        if checksums and hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            return "damaged_files"
    except FileNotFoundError:
        return "missing_files"
    return None
