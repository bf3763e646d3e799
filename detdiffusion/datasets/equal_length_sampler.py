"""Epochs of real images that are as long as those of real + synthetic images: training at equal cost.

Import it by ``custom_imports=dict(imports=['detdiffusion.datasets.equal_length_sampler'])``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Sized
from pathlib import Path

import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.registry import DATA_SAMPLERS
from detdiffusion.utils.errors import UserError


@DATA_SAMPLERS.register_module()
class EqualLengthSampler(Sampler):
    """Shuffled passes over a data set, cut into epochs of ``len(dataset) + synthetic images``.

    A pass goes on where the last epoch ended, so every image is seen equally often (to one). The schedule of the
    arm with synthetic images, in epochs or iterations, stays as it is.

    Args:
        dataset: the real images.
        synthetic_root: folder(s) of ``tools/generate.py`` of the arm to compare with; or
        num_synthetic: the number of its images. To be given where that arm does not use all images of
            ``annotations.json``: a gated json, ``fraction`` below 1, a ``filter_cfg``. Its log says the number:
            "synthetic images used".
        seed: of the shuffling; None: mmengine's, the same on all ranks.
        round_up: repeat a few images so that all ranks have as many.

    Raises:
        UserError: neither or both of the two are given, or no ``annotations.json`` in a folder.
    """

    def __init__(
        self,
        dataset: Sized,
        synthetic_root: str | Sequence[str] | None = None,
        num_synthetic: int | None = None,
        seed: int | None = None,
        round_up: bool = True,
        shuffle: bool = True,
    ) -> None:
        if (synthetic_root is None) == (num_synthetic is None):
            raise UserError("EqualLengthSampler: give synthetic_root or num_synthetic, one of them")
        if not shuffle:
            raise UserError("EqualLengthSampler: it always shuffles; leave shuffle out")
        if num_synthetic is None:
            roots = [synthetic_root] if isinstance(synthetic_root, str) else synthetic_root
            num_synthetic = sum(_count_images(Path(root) / "annotations.json") for root in roots)
        self.rank, self.world_size = get_dist_info()
        self.dataset, self.num_synthetic = dataset, num_synthetic
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self.total = len(dataset) + num_synthetic
        self.num_samples = (
            math.ceil(self.total / self.world_size)
            if round_up
            else math.ceil((self.total - self.rank) / self.world_size)
        )

    def __iter__(self) -> Iterator[int]:
        count, size = self.num_samples * self.world_size, len(self.dataset)
        start = self.epoch * self.total
        passes = [self._pass(k) for k in range(start // size, (start + count - 1) // size + 1)]
        indices = torch.cat(passes)[start % size :][:count]
        return iter(indices[self.rank :: self.world_size][: self.num_samples].tolist())

    def _pass(self, number: int) -> torch.Tensor:
        """The order of one pass over the data set; a function of the seed and its number alone."""
        generator = torch.Generator().manual_seed(self.seed + number)
        return torch.randperm(len(self.dataset), generator=generator)

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """mmengine's ``DistSamplerSeedHook`` calls it before every epoch."""
        self.epoch = epoch


def _count_images(path: Path) -> int:
    if not path.is_file():
        raise UserError(
            f"EqualLengthSampler: no {path}: set synthetic_root to the synthetic set of the arm to compare with, or "
            "train_dataloader.sampler.num_synthetic to its number of images"
        )
    return len(read_coco(path, spans=True).images)
