"""Samplers of the generator's training data.

mmengine's samplers with indices that also carry a seed for the sample's random augmentation, and batches of one size.

The order of samples is mmengine's. Augmentation that uses a worker's random state depends on the number of workers and
cannot be resumed exactly; augmentation seeded by the sample's position in the stream is the same in every run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import Sampler

from detdiffusion.registry import DATA_SAMPLERS
from detdiffusion.utils.errors import UserError


class SeededIndex(int):
    """An index with ``seed``, an integer that seeds the augmentation of the sample at this position."""

    seed: int

    def __new__(cls, index: int, seed: int) -> SeededIndex:
        value = super().__new__(cls, index)
        value.seed = seed
        return value

    def __reduce__(self):  # indices are sent to the data loader's workers
        return SeededIndex, (int(self), self.seed)


def _seed(seed: int, position: int) -> int:
    return (seed << 40) + position


@DATA_SAMPLERS.register_module()
class SeededInfiniteSampler(InfiniteSampler):
    """mmengine's ``InfiniteSampler`` that yields :class:`SeededIndex`; resuming skips to the position in the stream."""

    def _indices_of_rank(self) -> Iterator[int]:
        stream = itertools.islice(enumerate(self._infinite_indices()), self.rank, None, self.world_size)
        for position, index in stream:
            yield SeededIndex(index, _seed(self.seed, position))


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """mmengine's ``DefaultSampler`` that yields :class:`SeededIndex` and can :meth:`skip` samples."""

    _skipped = 0

    def skip(self, num_samples: int) -> None:
        """Skip the first samples of the next epoch that is iterated, but not of later epochs."""
        self._skipped = num_samples

    def __iter__(self) -> Iterator[int]:
        first, self._skipped = self._skipped, 0
        begin = self.epoch * max(self.total_size, len(self.dataset)) + self.rank
        for number, index in enumerate(super().__iter__()):
            if number >= first:
                yield SeededIndex(index, _seed(self.seed, begin + number * self.world_size))


@DATA_SAMPLERS.register_module()
class SameSizeBatchSampler(Sampler):
    """Batches of images that are trained at the same size, for data with several sizes.

    A batch is complete when the sampler has given as many images of one size. An epoch has as many batches as with one
    size, on every rank. What is left of a size at the end of an epoch is filled up by images of that size which the
    epoch began with, in the order of the first image left, until the epoch has its batches; what is left then is not
    seen in this epoch. A size with fewer images than a batch repeats them; leave such sizes out.

    :class:`~detdiffusion.engine.ResumableEpochLoop` resumes within an epoch without loading the batches before; loops
    that count iterations load them again.

    Args:
        sampler: gives the indices; its ``dataset`` has ``training_size(index)``, as
            :class:`~detdiffusion.datasets.layout_coco.LayoutCocoDataset`.
        batch_size: images in a batch.
        drop_last: whether the last batch of an epoch is left out if the number of images does not fill it.

    Raises:
        UserError: the data set does not know the sizes of its images.
    """

    def __init__(self, sampler: Sampler, batch_size: int, drop_last: bool = False) -> None:
        if not getattr(sampler.dataset, "training_sizes", ()):
            raise UserError(
                f"SameSizeBatchSampler: needs a data set whose pipeline loads images by LoadLayoutImage, not "
                f"{type(sampler.dataset).__name__}; leave the batch sampler out"
            )
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last
        self._skipped = 0

    def skip(self, num_batches: int) -> None:
        """Skip the first batches of the next epoch that is iterated, but not of later epochs."""
        self._skipped = num_batches

    def __len__(self) -> int:
        images = len(self.sampler)
        return images // self.batch_size if self.drop_last else -(-images // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        first, self._skipped = self._skipped, 0
        yield from itertools.islice(self._batches(), first, None)

    def _batches(self) -> Iterator[list[int]]:
        began: dict[tuple, list[int]] = {}  # the first images of each size
        left: dict[tuple, list[int]] = {}
        made = 0
        for index in self.sampler:
            size = self.sampler.dataset.training_size(index)
            if len(began.setdefault(size, [])) < self.batch_size:
                began[size].append(index)
            batch = left.setdefault(size, [])
            batch.append(index)
            if len(batch) == self.batch_size:
                yield left.pop(size)
                made += 1
        for size, batch in itertools.islice(left.items(), len(self) - made):
            yield [*batch, *itertools.islice(itertools.cycle(began[size]), self.batch_size - len(batch))]
