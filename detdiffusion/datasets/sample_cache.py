"""A cache of the parts of training samples that never change: the VAE's posteriors of the images, and the masks.

A cache is a folder of shards of up to :data:`SHARD` images of one size each: ``latents_00000.npy``, (n, 1 + F, 2, C, h,
w) float16 (original and F flipped images; mean and standard deviation), memory-mapped, and ``masks_00000.npz``, run
lengths at the training size. Each shard is written atomically by one process, so an interrupted cache is completed at
the next start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as mask_utils
from torch import Tensor

from detdiffusion.utils.array_cache import ArrayCache, digest_of

from .image_reading import reading_identity

FORMAT = 1  # increment it when the contents of a shard change
SHARD = 512


class SampleCache:
    """Reads and writes one cache; cheap to pickle for workers.

    Args:
        folder: folder of the shards.
        sizes: (height, width) in pixels of each image in training.
        masks: whether masks are cached too.
        flips: directions of the flipped images that are cached, see :data:`~detdiffusion.structures.FLIPS`.
    """

    def __init__(
        self, folder: Path, sizes: Sequence[tuple[int, int]], masks: bool, flips: Sequence[str]
    ) -> None:
        self.flips = tuple(flips)
        self.folder, self.with_masks = Path(folder), masks
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, size in enumerate(sizes):
            by_size.setdefault(tuple(size), []).append(index)
        self._shard, self._row = (np.empty(len(sizes), np.int32) for _ in range(2))  # of each image
        self._sizes: list[tuple[int, int]] = []  # of each shard
        for size, images in by_size.items():
            for start in range(0, len(images), SHARD):
                part = images[start : start + SHARD]
                self._shard[part], self._row[part] = len(self._sizes), np.arange(len(part))
                self._sizes.append(size)
        self._entries = ArrayCache(folder)
        self._latents: list[np.ndarray] = []
        self._runs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def __len__(self) -> int:
        return len(self._shard)

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return len(self._sizes)

    def images_of(self, shard: int) -> list[int]:
        """Return the image indices of a shard."""
        return np.flatnonzero(self._shard == shard).tolist()

    def size_of(self, shard: int) -> tuple[int, int]:
        """Return height and width in pixels of a shard's images."""
        return self._sizes[shard]

    def missing(self) -> list[int]:
        """Return the indices of shards that are missing or damaged."""
        return [i for i in range(self.num_shards) if self.lacks(i)]

    def lacks(self, shard: int) -> bool:
        """Return whether a shard is missing or damaged."""
        return self._read(shard) is None

    def _read(self, shard: int) -> tuple[np.ndarray, dict[str, np.ndarray] | None] | None:
        """Return latents and, if masks are cached, their run lengths; None if either is missing."""
        latents = self._entries.load_mapped(f"latents_{shard:05d}")
        runs = self._entries.load(f"masks_{shard:05d}") if self.with_masks else None
        if latents is None or (self.with_masks and runs is None):
            return None
        return latents, runs

    def write(self, shard: int, moments: Tensor, masks: Sequence[np.ndarray] | None) -> None:
        """Write one shard.

        Args:
            shard: index of the shard.
            moments: (n, 1 + F, 2, C, h, w).
            masks: n arrays (N_i, H, W) bool, or None.

        Raises:
            UserError: if the folder cannot be written.
        """
        if self.with_masks:
            runs = [
                mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
                for image_masks in masks
                for mask in image_masks
            ]
            content = dict(
                runs=np.frombuffer(b"".join(runs), np.uint8),
                ends=np.cumsum([0] + [len(run) for run in runs]),
                first=np.cumsum([0] + [len(image_masks) for image_masks in masks]),
            )
            self._entries.store(f"masks_{shard:05d}", content)
        self._entries.store_mapped(f"latents_{shard:05d}", moments.half().cpu().numpy())

    def open(self) -> None:
        """Memory-map the latents and load the masks' run lengths (a few hundred bytes per object)."""
        for shard in range(self.num_shards):
            latents, stored = self._read(shard)
            self._latents.append(latents)
            if stored is not None:
                self._runs.append((stored["runs"], stored["ends"], stored["first"]))

    def moments(self, index: int, flip: str | None) -> Tensor:
        """Return mean and standard deviation of the posterior of an image or a flipped image, (2, C, h, w) float16."""
        version = 0 if flip is None else 1 + self.flips.index(flip)
        shard, row = self._shard[index], self._row[index]
        return torch.from_numpy(self._latents[shard][row, version].copy())

    def masks(self, index: int) -> Tensor:
        """Return the masks of an image, (N, H, W) bool, not flipped."""
        shard, row = self._shard[index], self._row[index]
        runs, ends, first = self._runs[shard]
        rows, size = range(first[row], first[row + 1]), self.size_of(shard)
        if not len(rows):
            return torch.zeros(0, *size, dtype=torch.bool)
        rles = [dict(size=list(size), counts=runs[ends[i] : ends[i + 1]].tobytes()) for i in rows]
        return torch.from_numpy(mask_utils.decode(rles).transpose(2, 0, 1).astype(bool))

    def __getstate__(self) -> dict:  # spawned workers map the files again
        return {**self.__dict__, "_latents": [], "_runs": []}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.open()


def cache_key(vae: torch.nn.Module, images: Sequence[Path], masks: bytes, settings: dict) -> str:
    """Return a digest of everything that a cache depends on.

    Args:
        vae: the autoencoder, whose weights enter the digest.
        images: files, whose names, sizes and modification times enter the digest. (Reading will report missing files.)
        masks: digest of the masks' source; may be empty.
        settings: plain values.
    """

    def data() -> Iterator[bytes]:
        yield masks
        for name, value in sorted(vae.state_dict().items()):
            yield name.encode()
            # copied, because a NumPy view would keep the memory that FSDP frees
            yield value.detach().cpu().clone().contiguous().view(torch.uint8).numpy()
        for path in images:
            try:
                stat = os.stat(path)
                yield f"{path.name}:{stat.st_size}:{stat.st_mtime_ns}\n".encode()
            except OSError:
                yield f"{path.name}:missing\n".encode()

    return digest_of([FORMAT, SHARD, reading_identity(), settings], data())[:24]
