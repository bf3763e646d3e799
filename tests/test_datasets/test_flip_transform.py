"""Mirroring: image, boxes and masks together, every direction as often as asked."""

from collections import Counter

import cv2
import numpy as np
import pytest
import torch

from detdiffusion.datasets.transforms import RandomFlipLayout
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

CODES = {"horizontal": 1, "vertical": 0, "diagonal": -1}  # of cv2.flip


def sample():
    image = np.random.default_rng(0).integers(0, 255, (12, 20, 3), dtype=np.uint8)
    masks = torch.zeros(2, 12, 20, dtype=torch.bool)
    masks[0, 1:4, 2:9], masks[1, 6:12, 10:20] = True, True
    boxes = [[2 / 20, 1 / 12, 9 / 20, 4 / 12], [10 / 20, 6 / 12, 1, 1]]
    return dict(img=image, layout=Layout(boxes=boxes, names=["a", "b"], masks=masks))


@pytest.mark.parametrize("direction, code", CODES.items())
def test_everything_is_mirrored_alike(direction, code):
    source = sample()
    result = RandomFlipLayout(prob=1.0, direction=direction)(source)
    assert result["flip_direction"] == direction
    assert np.array_equal(result["img"], cv2.flip(source["img"], code))
    layout = result["layout"]
    for mask, before, box in zip(layout.masks.numpy(), source["layout"].masks.numpy(), layout.boxes):
        assert np.array_equal(mask, cv2.flip(before.astype(np.uint8), code).astype(bool))
        ys, xs = np.nonzero(mask)
        tight = [xs.min() / 20, ys.min() / 12, (xs.max() + 1) / 20, (ys.max() + 1) / 12]
        assert box.tolist() == pytest.approx(tight)
    assert torch.allclose(layout.flip(direction).boxes, source["layout"].boxes)  # twice is never


def test_directions_share_the_probability():
    flip = RandomFlipLayout(prob=0.75, direction=list(CODES))
    drawn = Counter(flip(dict(sample(), seed=seed))["flip_direction"] for seed in range(2000))
    assert set(drawn) == {None, *CODES}
    assert all(abs(count - 500) < 100 for count in drawn.values())


def test_bad_arguments():
    with pytest.raises(UserError, match="one or more of horizontal, vertical, diagonal, got 'upwards'"):
        RandomFlipLayout(direction="upwards")
    with pytest.raises(UserError, match="prob must be in"):
        RandomFlipLayout(prob=1.5)
    with pytest.raises(UserError, match="directions unique"):
        RandomFlipLayout(direction=["vertical", "vertical"])
    once = RandomFlipLayout()
    with pytest.raises(UserError, match="is twice in the pipeline"):
        once(once(sample()))
