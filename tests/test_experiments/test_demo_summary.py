"""The demo's tables: the distance between halves of the real images is no row beside the sets'."""

import pytest

from detdiffusion.experiments.demo.summary import distance


@pytest.mark.parametrize(
    "name, row, text",
    [
        ("real", dict(frechet=0.9), "–"),
        ("real", {}, "–"),
        ("easy", dict(frechet=0.9), "0.900"),
        ("hard", {}, "–"),
    ],
)
def test_distance(name, row, text):
    assert distance(name, row) == text
