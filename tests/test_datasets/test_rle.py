"""Totals of compressed run lengths, against masks that pycocotools encoded."""

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from detdiffusion.datasets.rle import compressed_total, compressed_totals


def encoded(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 200, 2)
    mask = (rng.uniform(size=(height, width)) < rng.uniform()).astype(np.uint8)
    if seed % 3:
        mask = np.kron(mask[::20, ::20], np.ones((20, 20), np.uint8))[:height, :width]
    return mask_utils.encode(np.asfortranarray(mask))["counts"], mask.size


def test_totals_are_the_masks_sizes():
    texts, sizes = zip(*map(encoded, range(60)))
    np.testing.assert_array_equal(compressed_totals(texts), sizes)
    assert [compressed_total(text) for text in texts] == list(sizes)


@pytest.mark.parametrize("bad", [b"P", b"0\xc3", b"/", b"0" + b"P" * 12 + b"1", b""])
def test_a_broken_one_spoils_no_other(bad):
    texts, sizes = zip(*map(encoded, range(5)))
    totals = compressed_totals([*texts[:2], bad, *texts[2:]])
    np.testing.assert_array_equal(np.delete(totals, 2), sizes)
    assert totals[2] <= 0
