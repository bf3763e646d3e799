"""A sampler whose share of synthetic images changes during training (imports mmdet).

Import it by ``custom_imports=dict(imports=['detdiffusion.datasets.share_schedule'])``. Synthetic images first and real
ones last, for a training of 600 iterations::

    sampler=dict(type='detdiffusion.ScheduledShareSampler', batch_size=16, begin=400, end=400)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from mmdet.datasets.samplers import MultiSourceSampler

from detdiffusion.registry import DATA_SAMPLERS
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.numbers import is_number


@DATA_SAMPLERS.register_module()
class ScheduledShareSampler(MultiSourceSampler):
    """Fills batches with synthetic images by a share that changes linearly between two iterations.

    The share is ``start_share`` before iteration ``begin``, ``end_share`` from iteration ``end`` on, and changes
    linearly in between; with ``begin == end`` it changes at once. As a batch has a whole number of images, batches are
    rounded such that the number of synthetic images so far differs from the schedule by at most half an image.

    Real and synthetic images are each drawn in shuffled passes, as by mmdet's ``MultiSourceSampler``. The sampler is
    infinite: it is for loops that count iterations. Iterations are those of the training, also after resuming. Every
    rank has the share.

    Args:
        dataset: of two parts, real images first: a
            :class:`~detdiffusion.datasets.synthetic_coco.SyntheticAugmentedCocoDataset` with ``mode='concat'``, or a
            ``ConcatDataset``.
        batch_size: images per batch of one rank, the same as ``train_dataloader.batch_size``.
        begin, end: iterations between which the share changes, ``0 <= begin <= end``.
        start_share, end_share: share of synthetic images before and after, in [0, 1].
        shuffle, seed: see ``MultiSourceSampler``.

    Raises:
        UserError: a share or an iteration is out of range, or the data set lacks real or synthetic images.
    """

    def __init__(
        self,
        dataset,
        batch_size: int,
        begin: int,
        end: int,
        start_share: float = 1.0,
        end_share: float = 0.0,
        shuffle: bool = True,
        seed: int | None = None,
    ) -> None:
        if not (_is_count(begin) and _is_count(end) and begin <= end):
            raise UserError(
                f"ScheduledShareSampler: begin={begin!r} and end={end!r} must be iterations with 0 <= begin <= end"
            )
        for name, share in (("start_share", start_share), ("end_share", end_share)):
            if not is_number(share) or not 0 <= share <= 1:
                raise UserError(f"ScheduledShareSampler: {name} must be in [0, 1], got {share!r}")
        if len(getattr(dataset, "cumulative_sizes", ())) != 2:
            raise UserError(
                "ScheduledShareSampler: needs a data set of two parts, real images first: a "
                "SyntheticAugmentedCocoDataset with mode='concat', or a ConcatDataset"
            )
        super().__init__(dataset, batch_size, source_ratio=[1, 1], shuffle=shuffle, seed=seed)
        del self.num_per_source  # it changes
        self.begin, self.end = begin, end
        self.start_share, self.end_share = start_share, end_share
        self._first_batch = 0

    def share(self, iteration: int) -> float:
        """Return the scheduled share of synthetic images in the batch of an iteration, from 0."""
        if iteration < self.begin:
            return self.start_share
        if iteration >= self.end:
            return self.end_share
        progress = (iteration - self.begin) / (self.end - self.begin)
        return self.start_share + progress * (self.end_share - self.start_share)

    def skip(self, num_samples: int) -> None:
        """Skip the first samples of the stream, so that a resumed training need not load them."""
        self._first_batch = num_samples // self.batch_size

    def __iter__(self) -> Iterator[int]:
        first, self._first_batch = self._first_batch, 0
        counts = self._synthetic_counts()
        skipped = sum(itertools.islice(counts, first))
        real = self._source(0, first * self.batch_size - skipped)
        synthetic = self._source(1, skipped)
        for count in counts:
            yield from itertools.islice(real, self.batch_size - count)
            yield from itertools.islice(synthetic, count)

    def _synthetic_counts(self) -> Iterator[int]:
        """Yield the number of synthetic images in each batch."""
        scheduled, taken = 0.0, 0
        for iteration in itertools.count():
            scheduled += self.share(iteration) * self.batch_size
            count = min(math.floor(scheduled + 0.5) - taken, self.batch_size)
            taken += count
            yield count

    def _source(self, source: int, skipped: int) -> Iterator[int]:
        """Return the infinite stream of one source's indices, real (0) or synthetic (1)."""
        first, end = self.cumulative_sizes[source : source + 2]
        stream = self._indices_of_rank(end - first)
        return (first + index for index in itertools.islice(stream, skipped, None))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
