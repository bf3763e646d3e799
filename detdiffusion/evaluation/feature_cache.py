"""On-disk cache of a network's outputs for a set of images, keyed by the images' content, protocol and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from detdiffusion.datasets.image_reading import reading_identity
from detdiffusion.utils.array_cache import ArrayCache, digest_of
from detdiffusion.utils.files import sha256_of
from detdiffusion.utils.ranks import Ranks

_SCHEMA = 2  # increase it when the computation changes


class FeatureCache:
    """Cache of arrays in a folder that all ranks share; for one command, as each file is read once for its digest.

    Args:
        folder: see :class:`~detdiffusion.utils.array_cache.ArrayCache`.

    Attributes:
        hits: keys of the entries that were read.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self._entries = ArrayCache(folder)
        self.hits: list[str] = []
        self._digests: dict[Path, str] = {}

    def key(self, files: Sequence[Path], identity: Mapping) -> str:
        """Return a key of the files' content, in order, of how files are read, and of ``identity`` (json values)."""
        if self._entries.folder is None:
            return ""
        for path in files:
            if path not in self._digests:  # several networks see the same files
                self._digests[path] = sha256_of(path)
        content = [self._digests[path] for path in files]
        return digest_of(dict(schema=_SCHEMA, reading=reading_identity(), files=content, identity=identity))

    def load(self, key: str) -> dict[str, np.ndarray] | None:
        """Return the arrays of a key, or None unless all ranks find them, so that all ranks proceed alike."""
        arrays = self._entries.load(key)
        if not all(Ranks.current().gather(arrays is not None)):
            return None
        self.hits.append(key)
        return arrays

    def store(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Store the arrays, on rank 0."""
        if Ranks.current().is_main:
            self._entries.store(key, arrays)
