"""An on-disk cache of arrays, keyed by a digest of everything they were computed from.

An entry is a file of plain arrays without pickles, written atomically; a damaged entry counts as missing. The key
covers everything that determines the arrays, including a format version, so an entry of an older format is never found
and its arrays are recomputed. Deleting the folder clears the cache.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from .files import write_atomic

_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def digest_of(parts: object, data: Iterable[bytes] = ()) -> str:
    """Return a cache key: the SHA-256 of JSON-serialisable values and of bytes, as a hexadecimal string.

    Args:
        parts: everything that determines an entry. Represent a file by
            :func:`~detdiffusion.utils.files.sha256_of` if it is read anyway, and by its size and modification time if
            reading it would cost as much as the cache saves.
        data: chunks of data that is too large for JSON, e.g. weights.
    """
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    for piece in data:
        digest.update(piece)
    return digest.hexdigest()


class ArrayCache:
    """A cache of named entries in one folder.

    Args:
        folder: created when the first entry is stored; None disables the cache.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """Load the arrays of an entry; None if it is missing or damaged."""
        if self.folder is None:
            return None
        try:
            with np.load(self.folder / f"{name}.npz", allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except _DAMAGED:
            return None

    def store(self, name: str, arrays: Mapping[str, np.ndarray], compress: bool = False) -> None:
        """Stores the arrays of an entry atomically, so concurrent processes are safe.

        Raises:
            UserError: if the folder cannot be written.
        """
        self._write(f"{name}.npz", np.savez_compressed if compress else np.savez, **arrays)

    def load_mapped(self, name: str) -> np.ndarray | None:
        """Load an array of :meth:`store_mapped`, memory-mapped read-only; None if it is missing or damaged."""
        if self.folder is None:
            return None
        try:
            return np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        except _DAMAGED:
            return None

    def store_mapped(self, name: str, array: np.ndarray) -> None:
        """Stores one array atomically, in a format that can be memory-mapped.

        Raises:
            UserError: if the folder cannot be written.
        """
        self._write(f"{name}.npy", np.save, array)

    def _write(self, file_name: str, save: Callable, *array: np.ndarray, **arrays: np.ndarray) -> None:
        if self.folder is None:
            return
        buffer = io.BytesIO()
        save(buffer, *array, **arrays)
        write_atomic(self.folder / file_name, buffer.getvalue())
