"""A sampler of real images with epochs as long as those of real and synthetic images, for training at equal cost.

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
    """Yields shuffled passes over a data set, cut into epochs of ``len(dataset) + synthetic images``.

    An epoch continues the pass where the last one ended, so the numbers of times that images are seen differ by at most
    one. The schedule of the run with synthetic images, in epochs or iterations, can be used unchanged.

    Args:
        dataset: the real images.
        synthetic_root: folder(s) of ``tools/generate.py`` used in the run to compare with; give this or
            ``num_synthetic``.
        num_synthetic: the number of synthetic images in that run. Needed if it does not use all images of
            ``annotations.json``: a gated json, ``fraction`` below 1, a ``filter_cfg``. Its log gives the number as
            "synthetic images used".
        seed: seed of the shuffling; None uses mmengine's, the same on all ranks.
        round_up: repeat a few images so that all ranks have the same number.
        shuffle: must be True.

    Raises:
        UserError: if neither or both of ``synthetic_root`` and ``num_synthetic`` are given, or a folder has no
            ``annotations.json``.
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
            raise UserError("EqualLengthSampler: give either synthetic_root or num_synthetic")
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
        share = self.total if round_up else self.total - self.rank
        self.num_samples = math.ceil(share / self.world_size)

    def __iter__(self) -> Iterator[int]:
        count, size = self.num_samples * self.world_size, len(self.dataset)
        start = self.epoch * self.total
        passes = [self._pass(k) for k in range(start // size, (start + count - 1) // size + 1)]
        indices = torch.cat(passes)[start % size :][:count]
        return iter(indices[self.rank :: self.world_size][: self.num_samples].tolist())

    def _pass(self, number: int) -> torch.Tensor:
        """Return the order of one pass over the data set; it depends only on the seed and the pass's number."""
        generator = torch.Generator().manual_seed(self.seed + number)
        return torch.randperm(len(self.dataset), generator=generator)

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; mmengine's ``DistSamplerSeedHook`` calls this before every epoch."""
        self.epoch = epoch


def _count_images(path: Path) -> int:
    if not path.is_file():
        raise UserError(
            f"EqualLengthSampler: no {path}: set synthetic_root to the synthetic set of the run to compare with, or "
            "train_dataloader.sampler.num_synthetic to its number of images"
        )
    return len(read_coco(path, spans=True).images)
