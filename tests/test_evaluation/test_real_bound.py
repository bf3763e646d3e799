"""The bound of distances: halves that never change, and the 1 / n rule that brings them to the full number."""

import numpy as np
import pytest

from detdiffusion.evaluation.fid import SetFeatures
from detdiffusion.evaluation.frechet import FeatureStatistics, frechet_distance
from detdiffusion.evaluation.real_bound import describe_bound, fixed_order, half_indices, halves


def test_halves_are_the_same_whatever_the_order():
    ids = list(range(100, 151))
    first, second = half_indices(ids)
    assert len(first) == len(second) == 25 and not set(first) & set(second)
    shuffled = np.random.default_rng(0).permutation(ids).tolist()
    again = half_indices(shuffled)
    assert [{shuffled[i] for i in half} for half in again] == [
        {ids[i] for i in half} for half in (first, second)
    ]
    # neither half is the lower ids
    assert abs(np.mean(first) - np.mean(second)) < 10
    assert sorted(fixed_order(ids)) == ids
    assert halves(SetFeatures(np.zeros((3, 2)), "real"), [1, 2, 3]) is None


@pytest.mark.parametrize("count", [400, 1000])
def test_the_rule_of_one_over_n(count):
    """Two halves' distance, scaled, is about that of two whole samples of the same distribution."""
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(12, 12))
    one, two = (rng.normal(size=(count, 12)) @ mixing for _ in range(2))

    def between(a, b):
        return frechet_distance(FeatureStatistics.fit(a, "x"), FeatureStatistics.fit(b, "x"))

    scaled = []
    for start in range(20):  # over many ways to halve
        pair = halves(SetFeatures(one, "real"), range(start * count, (start + 1) * count))
        scaled.append(between(pair[0].vectors, pair[1].vectors) / 2)
    samples = [between(rng.normal(size=(count, 12)) @ mixing, two) for _ in range(20)]
    assert np.mean(scaled) == pytest.approx(np.mean(samples), rel=0.15)
    assert describe_bound(4.0, count, 12, None, 0).endswith(f"(by 1 / n about 2.000 at {count})")


def test_no_rule_without_more_images_than_features():
    assert "no more images than features: 20 for 20, no rule applies" in describe_bound(4.0, 40, 20, None, 0)
    assert "by 1 / n" in describe_bound(4.0, 42, 20, None, 0)
