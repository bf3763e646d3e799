"""The filtered objects of COCO json files as columns, kept in a small file beside them.

The filter of a file of train2017's size takes most of a minute; its result is a few dozen megabytes. Segmentations
stay where they are: the index knows their place in the json, which is memory-mapped, so workers share them.
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

FORMAT = 3  # raise it when the columns, the filter or what is found change
MIN_BYTES = 32 << 20  # smaller files are read in a second or two: no index
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
    """Layouts of I images with N objects in all; a sequence of :class:`~detdiffusion.structures.Layout`.

    Attributes:
        image_ids: (I,) int64.
        sizes: (I, 2) int32, width and height in pixels.
        first: (I + 1,) int64: image i has the objects ``first[i]`` to ``first[i + 1] - 1``.
        boxes: (N, 4) float32, xyxy in [0, 1].
        labels, ids, category_ids: (N,) int64.
        owner: (N,) uint8, which annotation file an object is from.
        spans: (N, 2) int64, start and end of its json text there, in bytes.
        digests: (N,) uint32, see :func:`~detdiffusion.datasets.object_digests.object_digests`.
        file_names: I texts.
        names: class name of each category id.
        report: reason -> number of images or objects, as the filter counted them.
        notes: what reading the files had to say.
        mask_errors: a line each on segmentations that are none.
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
    mask_errors: list[str] = field(default_factory=list)
    categories: list[dict] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]  # negative ones, and IndexError
        own = slice(self.first[index], self.first[index + 1])
        categories = self.category_ids[own].tolist()
        width, height = self.sizes[index].tolist()
        return Layout(
            boxes=torch.from_numpy(self.boxes[own].copy()),
            names=[self.names[i] for i in categories],
            labels=torch.from_numpy(self.labels[own].copy()),
            ids=self.ids[own].tolist(),
            category_ids=categories,
            image_id=int(self.image_ids[index]),
            file_name=self.file_names[index],
            width=width,
            height=height,
        )

    def places(self, index: int) -> list[tuple[int, int, int]]:
        """(annotation file, start, end) of each object of an image."""
        own = slice(self.first[index], self.first[index + 1])
        return [(o, a, b) for o, (a, b) in zip(self.owner[own].tolist(), self.spans[own].tolist())]

    def store(self, place: Path) -> None:
        """Stores the index.

        Args:
            place: of :func:`index_places`.

        Raises:
            UserError: the folder cannot be written.
        """
        rest = dict(
            file_names=self.file_names,
            names=list(self.names.items()),
            report=self.report,
            notes=self.notes,
            mask_errors=self.mask_errors,
            categories=self.categories,
        )
        columns = {name: getattr(self, name) for name in _COLUMNS}
        columns["rest"] = np.frombuffer(json.dumps(rest).encode(), np.uint8)
        ArrayCache(place.parent).store(place.stem, columns)

    @classmethod
    def load(cls, place: Path) -> LayoutIndex | None:
        """What :meth:`store` wrote, or None where it is not there or damaged."""
        stored = ArrayCache(place.parent).load(place.stem)
        if stored is None:
            return None
        rest = json.loads(stored["rest"].tobytes())
        return cls(**{name: stored[name] for name in _COLUMNS}, **dict(rest, names=dict(rest["names"])))


class Segmentations:
    """Segmentations straight from the memory-mapped annotation files.

    Args:
        paths: the json files, as the index counts them.

    Raises:
        UserError: a file is gone or has another size than at the start.
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
                raise UserError(f"{path}: cannot be read any more ({error})") from None
            if len(data) != size:
                raise UserError(f"{path}: was changed while it is in use; start again")
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
    """Digest of all that an index depends on: files (name, size, time of change, both ends), settings, format.

    The folder is not part of it, so a data set may be moved.
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
    """Where an index may lie, best first: beside the annotations, else in the user's cache folder."""
    name = f"{Path(ann_file).stem}-{key}.npz"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [Path(ann_file).parent / ".layout_index" / name, cache / "detdiffusion" / "layout_index" / name]


def store(index: LayoutIndex, places: Sequence[Path]) -> str:
    """Writes the index to the first place that can be written; says where, or why nowhere."""
    reasons = []
    for place in places:
        try:
            index.store(place)
            return f"index written to {place}"
        except UserError as error:
            reasons.append(str(error))
    return f"no index is kept, every start reads the json anew: {'; '.join(reasons)}"


@contextlib.contextmanager
def only_one(places: Sequence[Path]) -> Iterator[None]:
    """Of the processes of one machine that want the same index, one at a time; the others then find it made."""
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
