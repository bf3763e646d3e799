"""What never changes about a training sample, made once: the VAE's posterior of its image and its masks.

A cache is a folder of shards, each of :data:`SHARD` images: ``latents_00000.npy``, (n, 1 + F, 2, C, h, w) float16
(plain and F mirror images; mean and deviation), memory-mapped, and ``masks_00000.npz``, run lengths at the training
size. A shard is written by one process, by temporary file and rename, so a cache that was interrupted goes on at the
next start.
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

FORMAT = 1  # raise it when what a shard holds changes
SHARD = 512


class SampleCache:
    """Reads one cache; cheap to send to workers.

    Args:
        folder: of the shards.
        count: images.
        size: (height, width) of the training images in pixels.
        masks: whether masks are kept too.
        flips: directions of the mirror images that are kept, see :data:`~detdiffusion.structures.FLIPS`.
    """

    def __init__(
        self, folder: Path, count: int, size: tuple[int, int], masks: bool, flips: Sequence[str]
    ) -> None:
        self.flips = tuple(flips)
        self.folder, self.count, self.size, self.with_masks = Path(folder), count, tuple(size), masks
        self._entries = ArrayCache(folder)
        self._latents: list[np.ndarray] = []
        self._runs: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def shards(self) -> list[range]:
        """The images of each shard."""
        return [range(i, min(i + SHARD, self.count)) for i in range(0, self.count, SHARD)]

    def missing(self) -> list[int]:
        """Shards that are not there yet, or damaged."""
        return [i for i in range(len(self.shards())) if self._read(i) is None]

    def _read(self, shard: int) -> tuple[np.ndarray, dict[str, np.ndarray] | None] | None:
        """Latents and, where they are kept, run lengths of masks; None where either is not there."""
        latents = self._entries.load_mapped(f"latents_{shard:05d}")
        runs = self._entries.load(f"masks_{shard:05d}") if self.with_masks else None
        return None if latents is None or (self.with_masks and runs is None) else (latents, runs)

    def write(self, shard: int, moments: Tensor, masks: Sequence[np.ndarray] | None) -> None:
        """One shard.

        Args:
            shard: its number.
            moments: (n, 1 + F, 2, C, h, w).
            masks: n arrays (N_i, H, W) bool, or None.

        Raises:
            UserError: the folder cannot be written.
        """
        if self.with_masks:
            runs = [
                mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
                for own in masks
                for mask in own
            ]
            content = dict(
                runs=np.frombuffer(b"".join(runs), np.uint8),
                ends=np.cumsum([0] + [len(run) for run in runs]),
                first=np.cumsum([0] + [len(own) for own in masks]),
            )
            self._entries.store(f"masks_{shard:05d}", content)
        self._entries.store_mapped(f"latents_{shard:05d}", moments.half().cpu().numpy())

    def open(self) -> None:
        """Maps the latents; loads the masks' run lengths, a few hundred bytes an object."""
        for shard in range(len(self.shards())):
            latents, stored = self._read(shard)
            self._latents.append(latents)
            if stored is not None:
                self._runs.append((stored["runs"], stored["ends"], stored["first"]))

    def moments(self, index: int, flip: str | None) -> Tensor:
        """(2, C, h, w) float16: mean and deviation of the posterior of an image or one of its mirror images."""
        version = 0 if flip is None else 1 + self.flips.index(flip)
        return torch.from_numpy(self._latents[index // SHARD][index % SHARD, version].copy())

    def masks(self, index: int) -> Tensor:
        """(N, H, W) bool, not mirrored."""
        runs, ends, first = self._runs[index // SHARD]
        own = range(first[index % SHARD], first[index % SHARD + 1])
        if not len(own):
            return torch.zeros(0, *self.size, dtype=torch.bool)
        rles = [dict(size=list(self.size), counts=runs[ends[i] : ends[i + 1]].tobytes()) for i in own]
        return torch.from_numpy(mask_utils.decode(rles).transpose(2, 0, 1).astype(bool))

    def __getstate__(self) -> dict:  # spawned workers map the files anew
        return {**self.__dict__, "_latents": [], "_runs": []}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.open()


def cache_key(vae: torch.nn.Module, images: Sequence[Path], masks: bytes, settings: dict) -> str:
    """Digest of all that a cache depends on.

    Args:
        vae: its weights.
        images: names, sizes in bytes and times of change count; a file that is not there is found when it is read.
        masks: digest of the masks' source, or nothing.
        settings: plain values.
    """

    def data() -> Iterator[bytes]:
        yield masks
        for name, value in sorted(vae.state_dict().items()):
            yield name.encode()
            # a copy: NumPy's view would pin the memory that FSDP gives back
            yield value.detach().cpu().clone().contiguous().view(torch.uint8).numpy()
        for path in images:
            try:
                stat = os.stat(path)
                yield f"{path.name}:{stat.st_size}:{stat.st_mtime_ns}\n".encode()
            except OSError:
                yield f"{path.name}:missing\n".encode()

    return digest_of([FORMAT, SHARD, reading_identity(), settings], data())[:24]
