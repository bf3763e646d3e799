"""What a network says of a set of images, kept on disk: keyed by the images' content, protocol and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from detdiffusion.datasets.image_reading import reading_identity
from detdiffusion.utils.array_cache import ArrayCache, digest_of
from detdiffusion.utils.files import sha256_of
from detdiffusion.utils.ranks import Ranks

_SCHEMA = 2  # raise it when what is computed changes


class FeatureCache:
    """Arrays by key in one folder, which the processes of a torchrun share.

    Args:
        folder: see :class:`~detdiffusion.utils.array_cache.ArrayCache`.

    Attributes:
        hits: names of the entries that were used.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self._entries = ArrayCache(folder)
        self.hits: list[str] = []

    def key(self, files: Sequence[Path], identity: Mapping) -> str:
        """A key of the files' content, in order, of how they are read, and of all in ``identity`` (json-able)."""
        if self._entries.folder is None:
            return ""
        content = [sha256_of(path) for path in files]
        return digest_of(dict(schema=_SCHEMA, reading=reading_identity(), files=content, identity=identity))

    def load(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays of a key, if every process of a torchrun finds them, so that all go the same way; else None."""
        arrays = self._entries.load(key)
        if not all(Ranks.current().gather(arrays is not None)):
            return None
        self.hits.append(key)
        return arrays

    def store(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """The first process stores the arrays."""
        if Ranks.current().is_main:
            self._entries.store(key, arrays)
