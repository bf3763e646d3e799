"""Images or image patches without annotations, to train an autoencoder on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import print_log
from torch.utils.data import Dataset

from detdiffusion.registry import DATASETS
from detdiffusion.utils.errors import UserError

from .image_reading import read_rgb, resize_pixels

_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


@DATASETS.register_module()
class ImagePatches(Dataset):
    """Square images from one or more folders, flipped at random.

    A sample is ``inputs``, (3, size, size) uint8 RGB. Patch and flip are sampled with the seed in the index of
    :class:`~detdiffusion.datasets.samplers.SeededInfiniteSampler`, else from a random seed. Images are kept in memory.

    Args:
        sources: one dict per folder: ``img_dir``; ``repeat``, the number of times each image is used per pass
            (default 1); ``patch``, the range of a patch's side relative to the image's shorter side, e.g.
            ``(0.2, 1.0)``, sampled log-uniformly (default: the entire image).
        size: side of the samples in pixels.
        data_root: prefix of relative folders.

    Raises:
        UserError: if a folder is missing or has no images, a patch range is outside (0, 1], or a setting is unknown;
            on access, if an image cannot be read.
    """

    def __init__(self, sources: Sequence[dict], size: int, data_root: str = "") -> None:
        self.size, self._cache = size, {}
        self.samples: list[tuple[str, tuple[float, float] | None]] = []
        for source in sources:
            self.samples += self._of_folder(data_root, **_checked(source))
        self.metainfo: dict = {}

    def _of_folder(self, data_root: str, img_dir: str, repeat: int = 1, patch=None) -> list[tuple]:
        folder = Path(data_root, img_dir)
        if not folder.is_dir():
            raise UserError(f"ImagePatches: no image folder {str(folder)!r}; correct img_dir or data_root")
        paths = sorted(str(path) for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
        if not paths:
            raise UserError(f"ImagePatches: {str(folder)!r} has no image ({', '.join(sorted(_SUFFIXES))})")
        print_log(f"{folder}: {len(paths)} images, {repeat} times a pass", logger="current")
        return [(path, patch) for path in paths] * repeat

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict:
        path, patch = self.samples[index]
        draw = random.Random(getattr(index, "seed", None))
        image = self._load(path)
        if patch:
            image = _cut(image, patch, draw)
        image = resize_pixels(image, (self.size, self.size))
        if draw.random() < 0.5:
            image = image[:, ::-1]
        return dict(inputs=torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1))

    def _load(self, path: str) -> np.ndarray:
        image = self._cache.get(path)
        if image is None:
            self._cache[path] = image = np.array(read_rgb(path))
        return image


def _checked(source: dict) -> dict:
    unknown = set(source) - {"img_dir", "repeat", "patch"}
    if unknown or "img_dir" not in source:
        raise UserError(f"ImagePatches: a source has img_dir, repeat and patch, got {dict(source)}")
    low, high = source.get("patch") or (1, 1)
    if not 0 < low <= high <= 1:
        raise UserError(f"ImagePatches: patch must be a range within (0, 1], got {source['patch']}")
    if source.get("repeat", 1) < 1:
        raise UserError(f"ImagePatches: repeat must be 1 or more, got {source['repeat']}")
    return dict(source)


def _cut(image: np.ndarray, patch: tuple[float, float], draw: random.Random) -> np.ndarray:
    """Cut a square patch at a random position; ``patch`` is the range of its side relative to the shorter side."""
    height, width = image.shape[:2]
    share = patch[0] * (patch[1] / patch[0]) ** draw.random()
    side = max(1, round(share * min(height, width)))
    top, left = draw.randint(0, height - side), draw.randint(0, width - side)
    return image[top : top + side, left : left + side]
