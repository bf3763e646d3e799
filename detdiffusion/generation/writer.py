"""Atomic, resumable writer of synthetic COCO sets, for one process or several ranks.

On disk::

    DIR/run.json            settings of the set, see :mod:`.run_file`; written once
    DIR/images/NAME.png     one file per image, written by temporary file, fsync and rename
    DIR/manifest.jsonl      one line per image, see :mod:`.manifest`
    DIR/annotations.json    built from the manifest by finish(), atomically

A process that is killed leaves only complete images and lines, except for at most one temporary file, one image
without a line and one incomplete last line; the next start removes these, for every rank.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from detdiffusion.generation.identity import check_unique
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.file_names import check_file_name
from detdiffusion.utils.files import TEMPORARY, write_atomic

from .manifest import (
    MANIFEST,
    ManifestFile,
    dump_entry,
    file_fault,
    find_parts,
    image_key,
    latest,
    part_path,
    read_entries,
)
from .run_file import open_run

SUFFIXES = {"png": ".png", "jpeg": ".jpg"}
_AGAIN = "; finished images are safe, run the same command again to continue"
_REPORT = ("resumed", "torn_lines", "missing_files", "damaged_files", "superseded_lines", "stray_files")


class CocoWriter:
    """Writes images with their annotations; each image is durable once it is added.

    Args:
        out_dir: the set's folder; created if missing.
        run: json-serialisable settings that must be equal whenever the set is continued (strategy, seed, ...).
        categories: COCO category dicts, copied into ``annotations.json``.
        checksums: at the start, compare every finished file with its SHA-256; otherwise only its presence and size.
        rank: rank 0 opens, repairs and finishes the set; other ranks must open it after rank 0 has opened it and
            before rank 0 adds images.
        patience: seconds to wait for an earlier run that still has locked the folder.
        jpeg_quality: quality of files whose name ends in ``.jpg``.
        progress: called with the number of files checked so far and in total while checksums are compared.

    Attributes:
        done: ids of the finished images.
        report: counts of findings at the start: ``resumed``, ``torn_lines``, ``missing_files``,
            ``damaged_files``, ``superseded_lines``, ``stray_files`` (temporary files and images
            without a line, both removed).
        lost: ids of images with a line whose file was missing or damaged at the start.

    Raises:
        UserError: the folder holds another run or other files, its manifest or run.json is damaged, it cannot be
            written, or another process is writing into it.
    """

    def __init__(
        self,
        out_dir: str | os.PathLike,
        run: dict,
        categories: Sequence[dict],
        checksums: bool = True,
        rank: int = 0,
        patience: float = 0.0,
        jpeg_quality: int = 95,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.out_dir = Path(out_dir)
        self.images_dir = self.out_dir / "images"
        self.manifest_path = part_path(self.out_dir, rank)
        self.run = json.loads(json.dumps(run))
        self.categories = [dict(category) for category in categories]
        self.report = dict.fromkeys(_REPORT, 0)
        self.lost: set[int] = set()
        self.rank, self.jpeg_quality = rank, jpeg_quality
        self._patience, self._progress = patience, progress
        self._entries: dict[int, dict] = {}
        self._manifest: ManifestFile | None = None
        self._closers = contextlib.ExitStack()
        try:
            if rank:
                self._join()
            else:
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

    @property
    def mean_bytes(self) -> float | None:
        """Mean size of the finished files in bytes, or None if there are none."""
        sizes = [entry["bytes"] for entry in self._entries.values()]
        return sum(sizes) / len(sizes) if sizes else None

    def close(self) -> None:
        """Release the lock on the folder. Images are safe even if this is never called."""
        self._closers.close()

    def add(
        self,
        image: np.ndarray,
        record: dict,
        annotations: Sequence[dict],
        extra: dict | None = None,
        data: bytes | None = None,
    ) -> None:
        """Write one image and its manifest line; both are on disk when the call returns.

        Args:
            image: (H, W, 3) uint8 RGB.
            record: COCO image dict with ``id``, ``file_name`` (inside ``images/``; its suffix selects the format),
                ``width`` and ``height``.
            annotations: COCO annotation dicts of this image.
            extra: further values for the manifest line only (prompt, noise seed, ...).
            data: content of the file, from :meth:`encode`; None encodes the image here.

        Raises:
            ValueError: the image does not match its record, or its id was written before.
            UserError: the files cannot be written (disk full or read-only).
        """
        if record["id"] in self.done:
            raise ValueError(f"image {record['id']} is already in {self.manifest_path}")
        name = check_file_name(record["file_name"], f"image {record['id']}")
        data = self.encode(image, record) if data is None else data
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
            self._manifest.append(entry)
        except (OSError, UserError) as error:
            message = str(error)
            if not isinstance(error, UserError):
                message = f"{self.manifest_path}: cannot write: {error}"
            raise UserError(f"{message}{_AGAIN} ({len(self.done)} images so far)") from error
        self._entries[record["id"]] = entry
        self.done.add(record["id"])

    def finish(self) -> Path:
        """Merge the other ranks' manifests and build ``annotations.json``; called on rank 0 only.

        The other ranks must have closed their writers. Manifest and annotations are sorted by (source image id,
        sample index, id).

        Returns:
            The path of ``annotations.json``.

        Raises:
            UserError: two images or annotations share an id, or the files cannot be written.
        """
        try:
            self._merge_parts()
            entries = sorted(self._entries.values(), key=image_key)
            self.done = set(self._entries)
            self._rewrite_manifest(entries)
            check_unique((a["id"] for entry in entries for a in entry["annotations"]), "annotation")
            coco = {
                "info": {"description": "synthetic set of DetDiffusion", **self.run},
                "licenses": [],
                "images": [entry["image"] for entry in entries],
                "annotations": [annotation for entry in entries for annotation in entry["annotations"]],
                "categories": self.categories,
            }
            path = self.out_dir / "annotations.json"
            write_atomic(path, json.dumps(coco).encode())
        except OSError as error:
            raise UserError(f"{self.out_dir}: cannot write: {error}{_AGAIN}") from error
        except UserError as error:
            raise UserError(f"{error}{_AGAIN}") from error
        return path

    def encode(self, image: np.ndarray, record: dict) -> bytes:
        """Return the content of an image's file; may be called from several threads.

        Args:
            image, record: see :meth:`add`.

        Raises:
            ValueError: the image does not match its record.
        """
        if image.dtype != np.uint8 or image.shape != (record["height"], record["width"], 3):
            raise ValueError(
                f"image {record['id']}: expected uint8 ({record['height']}, {record['width']}, 3), "
                f"got {image.dtype} {image.shape}"
            )
        jpeg = record["file_name"].endswith(SUFFIXES["jpeg"])
        options = dict(format="jpeg", quality=self.jpeg_quality) if jpeg else dict(format="png")
        buffer = BytesIO()
        Image.fromarray(image).save(buffer, **options)
        return buffer.getvalue()

    # Steps of opening a set, in the order of their execution.

    def _open(self, checksums: bool) -> None:
        self.out_dir.mkdir(parents=True, exist_ok=True)
        self._closers.callback(os.close, open_run(self.out_dir, self.run, self._patience))
        self.images_dir.mkdir(exist_ok=True)
        self._read_manifest(checksums)
        self._remove_strays()
        self._open_manifest()
        _sync_dir(self.out_dir)

    def _join(self) -> None:
        """Open the set on a rank above 0; rank 0 has checked and repaired it."""
        found, _ = read_entries(self.out_dir / MANIFEST)
        self._entries, _ = latest(found)
        self._open_manifest()

    def _open_manifest(self) -> None:
        self._manifest = ManifestFile(self.manifest_path, self._patience)
        self._closers.callback(lambda: self._manifest.close())

    def _rewrite_manifest(self, entries: Iterable[dict]) -> None:
        """Replace the manifest atomically, if it differs."""
        lines = b"".join(map(dump_entry, entries))
        if self.manifest_path.exists() and lines == self.manifest_path.read_bytes():
            return
        write_atomic(self.manifest_path, lines)
        _sync_dir(self.out_dir)
        if self._manifest is not None:  # reopen it, as the file was replaced
            self._manifest.close()
            self._manifest = ManifestFile(self.manifest_path, self._patience)

    def _read_manifest(self, checksums: bool) -> None:
        lines: list[dict] = []
        if self.manifest_path.exists():
            lines, torn = read_entries(self.manifest_path)
            self.report["torn_lines"] += torn
        self._entries, self.report["superseded_lines"] = latest(lines)
        clean = not self.report["torn_lines"] and len(lines) == len(self._entries)
        self._merge_parts()
        faults = self._faults(checksums)
        self.lost = set(faults)
        self._lost_names = {self._entries[key]["image"]["file_name"] for key in faults}
        for key, fault in faults.items():
            self.report[fault] += 1
            del self._entries[key]
        self.report["resumed"] = len(self._entries)
        if faults or not clean:
            self._rewrite_manifest(self._entries.values())

    def _merge_parts(self) -> None:
        """Move the lines of the other ranks' manifests into this one; safe to repeat after a kill."""
        parts = find_parts(self.out_dir)
        if not parts:
            return
        files = [ManifestFile(path, self._patience) for path in parts]  # locked, so no rank writes to them
        try:
            for file in files:
                entries, torn = read_entries(file.path)
                self.report["torn_lines"] += torn
                self._entries, superseded = latest([*self._entries.values(), *entries])
                self.report["superseded_lines"] += superseded
            self._rewrite_manifest(self._entries.values())
            for path in parts:
                path.unlink()
        finally:
            for file in files:
                file.close()

    def _faults(self, checksums: bool) -> dict[int, str]:
        """Return the image ids of missing or damaged files, with the kind of fault."""
        entries = list(self._entries.values())

        def check(entry: dict) -> str | None:
            return file_fault(self.images_dir / entry["image"]["file_name"], entry, checksums)

        faults = {}
        with ThreadPoolExecutor(8) as pool:  # reading and hashing release the GIL
            for number, (entry, fault) in enumerate(zip(entries, pool.map(check, entries)), 1):
                if fault:
                    faults[entry["image"]["id"]] = fault
                if self._progress and checksums:
                    self._progress(number, len(entries))
        return faults

    def _remove_strays(self) -> None:
        known = {entry["image"]["file_name"] for entry in self._entries.values()}
        strays = [p for p in self.out_dir.iterdir() if p.name.startswith(TEMPORARY)]
        strays += [
            p
            for p in self.images_dir.iterdir()
            if p.name.startswith(TEMPORARY) or (p.suffix in SUFFIXES.values() and p.name not in known)
        ]
        for path in strays:
            path.unlink()
        self.report["stray_files"] = sum(path.name not in self._lost_names for path in strays)


def _sync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
