"""mmengine's samplers with indices that also carry a seed for the sample's random augmentation.

The order of samples is mmengine's. Augmentation that uses a worker's random state depends on the number of workers and
cannot be resumed exactly; augmentation seeded by the sample's position in the stream is the same in every run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from mmengine.dataset import DefaultSampler, InfiniteSampler

from detdiffusion.registry import DATA_SAMPLERS


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
