"""Arrays kept on disk under a key of all that they were made from.

An entry is a file of plain arrays without pickles, written whole or not at all; a damaged one counts as absent. What
decides the arrays is part of the key, a format number among it, so an entry of an older format is never found and its
arrays are made anew. Deleting the folder clears the cache.
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
    """A key: SHA-256 of json-able values and of bytes, as hexadecimal text.

    Args:
        parts: everything that decides an entry. Files enter by :func:`~detdiffusion.utils.files.sha256_of` where they
            are read anyway, and by size and time of change where reading them would cost what the cache saves.
        data: what is too large for json, e.g. weights; read piece by piece.
    """
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode())
    for piece in data:
        digest.update(piece)
    return digest.hexdigest()


class ArrayCache:
    """Named entries in one folder.

    Args:
        folder: made when something is stored; None keeps nothing.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder)

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays of an entry; None where it is not there or damaged."""
        if self.folder is None:
            return None
        try:
            with np.load(self.folder / f"{name}.npz", allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except _DAMAGED:
            return None

    def store(self, name: str, arrays: Mapping[str, np.ndarray], compress: bool = False) -> None:
        """Stores the arrays of an entry, atomically: two processes at once do no harm.

        Raises:
            UserError: the folder cannot be written.
        """
        self._write(f"{name}.npz", np.savez_compressed if compress else np.savez, **arrays)

    def load_mapped(self, name: str) -> np.ndarray | None:
        """An array of :meth:`store_mapped`, memory-mapped read-only; None where it is not there or damaged."""
        if self.folder is None:
            return None
        try:
            return np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        except _DAMAGED:
            return None

    def store_mapped(self, name: str, array: np.ndarray) -> None:
        """Stores one array, atomically, in the form that can be memory-mapped.

        Raises:
            UserError: the folder cannot be written.
        """
        self._write(f"{name}.npy", np.save, array)

    def _write(self, file_name: str, save: Callable, *array: np.ndarray, **arrays: np.ndarray) -> None:
        if self.folder is None:
            return
        buffer = io.BytesIO()
        save(buffer, *array, **arrays)
        write_atomic(self.folder / file_name, buffer.getvalue())
