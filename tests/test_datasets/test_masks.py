"""Segmentations against pycocotools' own decoding, and broken ones by one clear message."""

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from detdiffusion.datasets.masks import decode_segmentation
from detdiffusion.utils.errors import UserError


def runs_of(mask):
    """Uncompressed RLE, column by column, zeros first."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.r_[0, edges, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


@pytest.mark.parametrize("seed", range(12))
def test_both_forms_of_rle_give_the_mask_back(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 300, 2)
    mask = (rng.uniform(size=(height, width)) < rng.uniform()).astype(np.uint8)
    if seed % 3:  # long runs, several characters each
        mask = np.kron(mask[::40, ::40], np.ones((40, 40), np.uint8))[:height, :width]
    rle = mask_utils.encode(np.asfortranarray(mask))
    size = list(mask.shape)
    for counts in (rle["counts"], rle["counts"].decode(), runs_of(mask)):
        decoded = decode_segmentation(dict(size=size, counts=counts), *size, "image 1")
        np.testing.assert_array_equal(decoded, mask)


def test_real_annotations(shared_dir):
    coco = COCO(str(shared_dir / "data/coco_cc/instances.json"))
    for annotation in coco.anns.values():
        image = coco.imgs[annotation["image_id"]]
        mask = decode_segmentation(annotation["segmentation"], image["height"], image["width"], "x")
        np.testing.assert_array_equal(mask, coco.annToMask(annotation))


SQUARE = [1, 1, 4, 1, 4, 4]
BAD = {
    "no form": (7, "neither polygons nor RLE"),
    "empty list": ([], "three points"),
    "two points": ([SQUARE, [1, 2, 3, 4]], "three points"),
    "odd": ([[*SQUARE, 5]], "three points"),
    "nan": ([[*SQUARE[:5], float("nan")]], "not finite"),
    "huge": ([[*SQUARE[:5], 1e8]], "beyond a million pixels"),
    "text": ([["a"] * 6], "neither polygons nor RLE"),
    "no counts": (dict(size=[10, 12]), "neither polygons nor RLE"),
    "empty counts": (dict(size=[10, 12], counts=""), "add up to 0 pixels"),
    "too short": (dict(size=[10, 12], counts="000"), "neither polygons nor RLE"),
    "too long": (dict(size=[10, 12], counts=[100, 100]), "add up to 200 pixels"),
    "negative": (dict(size=[10, 12], counts=[200, -80]), "from 0"),
    "fractions": (dict(size=[10, 12], counts=[60.5, 59.5]), "from 0"),
    "cut off": (dict(size=[10, 12], counts="PPPP"), "cut off"),
    "foreign characters": (dict(size=[10, 12], counts="é"), "neither polygons nor RLE"),
    "other size": (dict(size=[12, 10], counts=[120]), "12 x 10 pixels in an image of 10 x 12"),
}


@pytest.mark.parametrize("case", BAD)
def test_broken_ones_are_one_clear_message(case):
    segmentation, part = BAD[case]
    with pytest.raises(UserError, match="^image 3: a ") as caught:
        decode_segmentation(segmentation, 10, 12, "image 3")
    assert part in str(caught.value)
