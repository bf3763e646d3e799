"""What a network says of a set of images, kept on disk: keyed by the images' content, protocol and weights."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from detdiffusion.datasets.image_reading import reading_identity
from detdiffusion.utils.files import sha256_of, write_atomic
from detdiffusion.utils.ranks import gather_in_order, is_main, rank

_SCHEMA = 2  # raise it when what is computed changes


class FeatureCache:
    """Arrays by key in one folder; a damaged entry counts as absent.

    Args:
        folder: made when something is stored; None keeps nothing.

    Attributes:
        hits: names of the entries that were used.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.hits: list[str] = []

    def key(self, files: Sequence[Path], identity: Mapping) -> str:
        """A key of the files' content, in order, of how they are read, and of all in ``identity`` (json-able)."""
        if self.folder is None:
            return ""
        content = [sha256_of(path) for path in files]
        parts = dict(schema=_SCHEMA, reading=reading_identity(), files=content, identity=identity)
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def load(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays of a key, if every process of a torchrun finds them, so that all go the same way; else None."""
        arrays = self._read(key)
        if not all(gather_in_order([rank()], [arrays is not None])):
            return None
        self.hits.append(key)
        return arrays

    def store(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """The first process stores arrays, atomically: two runs at once do no harm."""
        path = self._path(key)
        if path is not None and is_main():
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)
            write_atomic(path, buffer.getvalue())

    def _read(self, key: str) -> dict[str, np.ndarray] | None:
        path = self._path(key)
        if path is None or not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def _path(self, key: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{key}.npz"
