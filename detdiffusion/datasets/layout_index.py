"""A columnar index of the filtered objects of COCO json files, cached in a file next to them.

Filtering a file of train2017's size takes most of a minute; the result has a few dozen megabytes. Segmentations are not
copied: the index stores their positions in the json, which is memory-mapped, so workers share them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from detdiffusion.structures import Layout
from detdiffusion.utils.array_cache import ArrayCache, digest_of
from detdiffusion.utils.errors import UserError

from .segmentation_check import usable_parts

FORMAT = 4  # increment it when the columns, the filter or the checks change
MIN_BYTES = 32 << 20  # smaller files are read in a second or two and need no index
_SAMPLE = 1 << 16
_COLUMNS = (
    "image_ids",
    "sizes",
    "first",
    "boxes",
    "labels",
    "ids",
    "category_ids",
    "owner",
    "spans",
    "digests",
)


@dataclass
class LayoutIndex(Sequence):
    """The layouts of I images with N objects in total; a sequence of :class:`~detdiffusion.structures.Layout`.

    Attributes:
        image_ids: (I,) int64.
        sizes: (I, 2) int32, width and height in pixels.
        first: (I + 1,) int64: image i has the objects ``first[i]`` to ``first[i + 1] - 1``.
        boxes: (N, 4) float32, xyxy in [0, 1].
        labels, ids, category_ids: (N,) int64.
        owner: (N,) uint8, index of the annotation file that contains an object.
        spans: (N, 2) int64, start and end of its json text there, in bytes.
        digests: (N,) uint32, see :func:`~detdiffusion.datasets.object_digests.object_digests`.
        file_names: I strings.
        names: category id -> class name.
        report: reason -> number of images or objects, as counted by the filter.
        notes: findings from reading the files, and the filter's warning.
        warning: the filter's warning alone; empty if it kept half of the objects or more.
        mask_errors: errors about invalid segmentations, one line each.
        categories: category dicts of all files.
    """

    image_ids: np.ndarray
    sizes: np.ndarray
    first: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    category_ids: np.ndarray
    owner: np.ndarray
    spans: np.ndarray
    digests: np.ndarray
    file_names: list[str]
    names: dict[int, str]
    report: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warning: str = ""
    mask_errors: list[str] = field(default_factory=list)
    categories: list[dict] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]  # handles negative indices and raises IndexError
        rows = slice(self.first[index], self.first[index + 1])
        categories = self.category_ids[rows].tolist()
        width, height = self.sizes[index].tolist()
        return Layout(
            boxes=torch.from_numpy(self.boxes[rows].copy()),
            names=[self.names[i] for i in categories],
            labels=torch.from_numpy(self.labels[rows].copy()),
            ids=self.ids[rows].tolist(),
            category_ids=categories,
            image_id=int(self.image_ids[index]),
            file_name=self.file_names[index],
            width=width,
            height=height,
        )

    def places(self, index: int) -> list[tuple[int, int, int]]:
        """Return ``(index of the annotation file, start, end)`` for each object of an image."""
        rows = slice(self.first[index], self.first[index + 1])
        spans = self.spans[rows].tolist()
        return [(owner, start, end) for owner, (start, end) in zip(self.owner[rows].tolist(), spans)]

    def store(self, place: Path) -> None:
        """Write the index to a file.

        Args:
            place: path of the file, see :func:`index_places`.

        Raises:
            UserError: if the folder cannot be written.
        """
        rest = dict(
            file_names=self.file_names,
            names=list(self.names.items()),
            report=self.report,
            notes=self.notes,
            warning=self.warning,
            mask_errors=self.mask_errors,
            categories=self.categories,
        )
        columns = {name: getattr(self, name) for name in _COLUMNS}
        columns["rest"] = np.frombuffer(json.dumps(rest).encode(), np.uint8)
        ArrayCache(place.parent).store(place.stem, columns)

    @classmethod
    def load(cls, place: Path) -> LayoutIndex | None:
        """Load the index that :meth:`store` wrote; None if it is missing or damaged."""
        stored = ArrayCache(place.parent).load(place.stem)
        if stored is None:
            return None
        rest = json.loads(stored["rest"].tobytes())
        return cls(**{name: stored[name] for name in _COLUMNS}, **dict(rest, names=dict(rest["names"])))


class Segmentations:
    """Reads segmentations from the memory-mapped annotation files.

    Args:
        paths: the json files, in the order that ``LayoutIndex.owner`` refers to.

    Raises:
        UserError: if a file was removed, or its size has changed.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = list(paths)
        self._sizes = [os.path.getsize(path) for path in self.paths]
        self._open()

    def _open(self) -> None:
        self._maps = []
        for path, size in zip(self.paths, self._sizes):
            try:
                with open(path, "rb") as file:
                    data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise UserError(f"{path}: can no longer be read ({error})") from None
            if len(data) != size:
                raise UserError(f"{path}: was changed while in use; start again")
            self._maps.append(data)

    def __getitem__(self, place: tuple[int, int, int]):
        owner, start, end = place
        return usable_parts(json.loads(self._maps[owner][start:end]).get("segmentation"))

    def __getstate__(self) -> dict:  # for spawned workers
        return dict(paths=self.paths, _sizes=self._sizes)

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._open()


def index_key(ann_files: Sequence[str], settings: dict) -> str:
    """Return a digest of everything that an index depends on: files (name, size, modification time, first and last
    bytes), settings and format.

    The folder is not included, so a data set may be moved.
    """
    files = []
    for path in map(Path, ann_files):
        stat = path.stat()
        with path.open("rb") as file:
            ends = hashlib.sha256(file.read(_SAMPLE))
            file.seek(max(0, stat.st_size - _SAMPLE))
            ends.update(file.read(_SAMPLE))
        files.append((path.name, stat.st_size, stat.st_mtime_ns, ends.hexdigest()))
    return digest_of([FORMAT, files, settings])[:24]


def index_places(ann_file: str, key: str) -> list[Path]:
    """Return the possible locations of an index: next to the annotations, else in the user's cache folder."""
    name = f"{Path(ann_file).stem}-{key}.npz"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [Path(ann_file).parent / ".layout_index" / name, cache / "detdiffusion" / "layout_index" / name]


def store(index: LayoutIndex, places: Sequence[Path]) -> str:
    """Write the index to the first location that is writable; return a message that says where, or why it failed."""
    reasons = []
    for place in places:
        try:
            index.store(place)
            return f"index written to {place}"
        except UserError as error:
            reasons.append(str(error))
    return f"the index cannot be written, so every start will read the json again: {'; '.join(reasons)}"


@contextlib.contextmanager
def only_one(places: Sequence[Path]) -> Iterator[None]:
    """Hold a lock on an index, so that only one process of a machine builds it and the others load the result."""
    for place in places:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = open(place.with_suffix(".lock"), "a")
        except OSError:
            continue
        with lock:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        return
    yield
