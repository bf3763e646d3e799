"""Epochs of real images as long as those of another arm."""

import json
from collections import Counter

import pytest
from mmengine.dataset import DefaultSampler

from detdiffusion.datasets import equal_length_sampler
from detdiffusion.datasets.equal_length_sampler import EqualLengthSampler
from detdiffusion.utils.errors import UserError


def epochs(sampler, count):
    for epoch in range(count):
        sampler.set_epoch(epoch)
        yield list(sampler)


def test_epochs_are_as_long_as_with_the_synthetic_images_and_every_image_counts_alike():
    sampler = EqualLengthSampler(range(10), num_synthetic=4, seed=3)
    drawn = list(epochs(sampler, 5))  # 70 draws: 7 passes
    assert len(sampler) == 14 and [len(e) for e in drawn] == [14] * 5
    assert set(Counter(sum(drawn, [])).values()) == {7}
    assert set(Counter(drawn[0]).values()) == {1, 2} and drawn[0] != drawn[1]
    assert list(epochs(EqualLengthSampler(range(10), num_synthetic=4, seed=3), 5)) == drawn
    assert list(epochs(EqualLengthSampler(range(10), num_synthetic=4, seed=4), 1)) != drawn[:1]


def test_without_synthetic_images_it_is_a_shuffled_epoch():
    sampler = EqualLengthSampler(range(6), num_synthetic=0, seed=0)
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs(sampler, 3))
    assert len(sampler) == len(DefaultSampler(range(6), seed=0))


@pytest.mark.parametrize("round_up", [True, False])
def test_ranks_share_an_epoch(round_up, monkeypatch):
    parts = []
    for rank in range(2):
        monkeypatch.setattr(equal_length_sampler, "get_dist_info", lambda rank=rank: (rank, 2))
        sampler = EqualLengthSampler(range(10), num_synthetic=3, seed=0, round_up=round_up)
        parts.append(next(epochs(sampler, 1)))
        assert len(parts[-1]) == len(sampler)
    assert sum(map(len, parts)) == (14 if round_up else 13)
    assert set(sum(parts, [])) == set(range(10))


def test_the_number_comes_from_the_synthetic_set(tmp_path):
    for name, images in (("a", 3), ("b", 5)):
        (tmp_path / name).mkdir()
        entries = [dict(id=i, file_name=f"{i}.png", width=8, height=8) for i in range(images)]
        content = dict(images=entries, annotations=[], categories=[])
        (tmp_path / name / "annotations.json").write_text(json.dumps(content))
    assert len(EqualLengthSampler(range(10), synthetic_root=str(tmp_path / "a"), seed=0)) == 13
    roots = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert len(EqualLengthSampler(range(10), synthetic_root=roots, seed=0)) == 18


def test_errors(tmp_path):
    with pytest.raises(UserError, match="set synthetic_root to the synthetic set"):
        EqualLengthSampler(range(3), synthetic_root=str(tmp_path))
    with pytest.raises(UserError, match="give either synthetic_root or num_synthetic"):
        EqualLengthSampler(range(3))
    (tmp_path / "annotations.json").write_text("[]")
    with pytest.raises(UserError, match="annotations.json: the top level is a list"):
        EqualLengthSampler(range(3), synthetic_root=str(tmp_path))
