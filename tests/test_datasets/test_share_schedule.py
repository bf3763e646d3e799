"""The sampler with a share of synthetic images that changes: realised counts, passes, skipping."""

from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, TensorDataset

from detdiffusion.datasets.share_schedule import ScheduledShareSampler
from detdiffusion.utils.errors import UserError

REAL, SYNTHETIC = 7, 5
DATASET = ConcatDataset([TensorDataset(torch.arange(n)) for n in (REAL, SYNTHETIC)])


def sampler(batch_size=4, begin=10, end=30, dataset=DATASET, **settings):
    return ScheduledShareSampler(dataset, batch_size, begin=begin, end=end, **{"seed": 3, **settings})


def batches(found, number):
    return np.array(list(islice(found, number * found.batch_size))).reshape(number, found.batch_size)


def test_the_share_falls_linearly_and_batches_follow_it():
    found = sampler(start_share=0.9, end_share=0.2)
    scheduled = np.interp(np.arange(50), [10, 30], [0.9, 0.2])
    assert [found.share(i) for i in range(50)] == pytest.approx(scheduled)
    synthetic = (batches(found, 50) >= REAL).sum(axis=1)
    assert np.abs(np.cumsum(synthetic) - np.cumsum(4 * scheduled)).max() <= 0.5 + 1e-6
    assert np.abs(synthetic - 4 * scheduled).max() < 1 + 1e-6


def test_synthetic_first_and_real_last():
    is_synthetic = batches(sampler(begin=6, end=6), 12) >= REAL
    assert is_synthetic[:6].all() and not is_synthetic[6:].any()


def test_each_source_is_drawn_in_shuffled_passes():
    drawn = batches(sampler(start_share=0.5, end_share=0.5), 35).ravel()
    for source, size in ((drawn[drawn < REAL], REAL), (drawn[drawn >= REAL] - REAL, SYNTHETIC)):
        passes = source[: len(source) // size * size].reshape(-1, size)
        assert len(passes) >= 10 and (np.sort(passes) == np.arange(size)).all()
        assert len({tuple(one) for one in passes.tolist()}) > 5
    assert (drawn == batches(sampler(start_share=0.5, end_share=0.5), 35).ravel()).all()
    assert (drawn != batches(sampler(start_share=0.5, end_share=0.5, seed=4), 35).ravel()).any()


def test_skipping_continues_the_stream():
    whole, resumed = batches(sampler(), 40), sampler()
    resumed.skip(17 * 4)
    assert (batches(resumed, 23) == whole[17:]).all()


def test_bad_settings():
    with pytest.raises(UserError, match="begin=30 and end=10 must be iterations with 0 <= begin <= end"):
        sampler(begin=30, end=10)
    for share in (1.5, "all", float("nan")):
        with pytest.raises(UserError, match=r"end_share must be in \[0, 1\]"):
            sampler(end_share=share)
    for dataset in (TensorDataset(torch.arange(3)), ConcatDataset(DATASET.datasets[:1])):
        with pytest.raises(UserError, match="needs a data set of two parts"):
            sampler(dataset=dataset)
