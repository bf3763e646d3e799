"""Crops and pasted objects in the generator's training data."""

import numpy as np
import pytest
import torch

from detdiffusion.datasets import transforms
from detdiffusion.datasets.layout_coco import LayoutCocoDataset
from detdiffusion.datasets.miniscenes import write_miniscenes
from detdiffusion.datasets.samplers import SeededIndex
from detdiffusion.datasets.transforms import CopyPasteLayout, RandomResizedCropLayout
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

HEIGHT, WIDTH = 48, 64


def sample(seed, masks=True):
    """A picture whose pixels hold their own coordinates, and rectangles with their masks."""
    ys, xs = np.mgrid[:HEIGHT, :WIDTH]
    picture = np.stack((xs, ys, np.zeros_like(xs)), axis=2).astype(np.uint8)
    pixels = torch.tensor([[4, 6, 20, 30], [30, 10, 60, 44], [0, 40, 64, 48]])
    outlines = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(outlines, pixels.tolist()):
        mask[y1:y2, x1:x2] = True
    boxes = pixels / torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    layout = Layout(
        boxes, ["a", "b", "sand"], ["easy", "hard", "background"], outlines if masks else None, ids=[1, 2, 3]
    )
    return dict(img=picture, layout=layout, seed=seed)


@pytest.mark.parametrize("masks", [True, False])
def test_boxes_follow_the_pixels_of_a_crop(masks):
    """The coordinates in the pixels tell where the part was; boxes must be the same rectangles there."""
    crop, cropped, dropped = RandomResizedCropLayout(scale=(0.2, 0.6), min_visible=0.5), 0, 0
    for seed in range(60):
        source = sample(seed, masks)
        result = crop(source)
        again = crop(sample(seed, masks))
        assert np.array_equal(result["img"], again["img"]) and result["layout"].ids == again["layout"].ids
        image, layout = result["img"], result["layout"]
        assert image.shape == (HEIGHT, WIDTH, 3) and len(layout)
        inside = [source["layout"].ids.index(key) for key in layout.ids]
        part = torch.tensor(layout.crop).reshape(2, 2)
        expected_boxes = (source["layout"].boxes[inside].reshape(-1, 2, 2) - part[0]) / (part[1] - part[0])
        torch.testing.assert_close(layout.boxes, expected_boxes.clamp(0, 1).reshape(-1, 4))
        left, right = (image[:, k, 0].astype(float).mean() for k in (0, -1))
        top, bottom = (image[k, :, 1].astype(float).mean() for k in (0, -1))
        low, sides = np.array([left, top]), np.array([right - left + 1, bottom - top + 1])
        cropped += sides[0] < WIDTH - 2 or sides[1] < HEIGHT - 2
        for key, original in zip((1, 2, 3), source["layout"].boxes.numpy()):
            box = (original.reshape(2, 2) * [WIDTH, HEIGHT] - low) / sides
            area = np.prod(box[1] - box[0])
            box = box.clip(0, 1)
            share = np.prod(box[1] - box[0]) / area
            if key not in layout.ids:
                dropped += 1
                assert share < 0.6
                continue
            assert share > 0.4
            index = layout.ids.index(key)
            np.testing.assert_allclose(layout.boxes[index].reshape(2, 2), box, atol=0.06)
            assert layout.attributes[index] == ("easy", "hard", "background")[key - 1]
            if masks:
                expected = np.prod(box[1] - box[0]) * HEIGHT * WIDTH
                assert float(layout.masks[index].sum()) == pytest.approx(expected, rel=0.25, abs=60)
    assert cropped > 50 and dropped > 20


def test_no_crop_where_it_is_not_wanted():
    source = sample(0)
    assert RandomResizedCropLayout(prob=0)(source) is source
    whole = RandomResizedCropLayout(scale=(1, 1), ratio=(1, 1))(sample(1))
    assert np.array_equal(whole["img"], sample(1)["img"]) and torch.equal(
        whole["layout"].boxes, sample(1)["layout"].boxes
    )
    for values in (dict(scale=(0, 1)), dict(ratio=(2, 1)), dict(prob=1.5), dict(min_visible=-1)):
        with pytest.raises(UserError, match="RandomResizedCropLayout"):
            RandomResizedCropLayout(**values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("paste")
    write_miniscenes(root, "train", 12, size=32)
    return root


def dataset(folder, *steps):
    return LayoutCocoDataset(
        ["train/instances.json", "train/stuff.json"],
        "train/images",
        str(folder),
        [dict(type="LoadLayoutImage", size=(32, 32)), dict(type="LoadLayoutMasks"), *steps],
        filter_cfg=dict(min_objects=1),
    )


def test_pasted_objects_have_the_pixels_of_their_own_image(folder):
    things = ["ball", "crate", "tent", "star", "ring", "pine tree", "kite", "street sign"]
    plain = dataset(folder)
    pasting = dataset(folder, CopyPasteLayout(prob=1, max_objects=2, classes=things))
    owner = {key: index for index in range(len(plain)) for key in plain.layouts[index].ids}
    pasted = 0
    for index in range(len(plain)):
        result = pasting[SeededIndex(index, 100 + index)]
        again = pasting[SeededIndex(index, 100 + index)]
        assert np.array_equal(result["img"], again["img"]) and result["layout"].ids == again["layout"].ids
        layout, source = result["layout"], plain[index]
        new = [k for k, key in enumerate(layout.ids) if owner[key] != index]
        pasted += len(new)
        assert len(set(layout.ids)) == len(layout) and len(new) <= 2
        for k in new:
            donor = plain[owner[layout.ids[k]]]
            j = donor["layout"].ids.index(layout.ids[k])
            mask = layout.masks[k].numpy()
            assert layout.names[k] == donor["layout"].names[j] and torch.equal(
                layout.boxes[k], donor["layout"].boxes[j]
            )
            assert np.array_equal(result["img"][mask], donor["img"][mask])
        covered = layout.masks[new].any(dim=0).numpy() if new else np.zeros((32, 32), bool)
        assert np.array_equal(result["img"][~covered], source["img"][~covered])
        for k, key in enumerate(layout.ids):
            if k not in new:
                before = source["layout"].masks[source["layout"].ids.index(key)]
                assert torch.equal(layout.masks[k], before & ~torch.from_numpy(covered))
                assert layout.masks[k].sum() >= 0.4 * before.sum()
    assert pasted > 12


def test_random_steps_before_pasting_are_functions_of_the_seed(folder):
    crop, paste = RandomResizedCropLayout(scale=(0.3, 0.6)), CopyPasteLayout(prob=1, max_objects=3)
    data = dataset(folder, crop, paste)
    for index in range(6):
        one, again = (data[SeededIndex(index, 7)] for _ in range(2))
        assert np.array_equal(one["img"], again["img"]) and torch.equal(
            one["layout"].masks, again["layout"].masks
        )


@pytest.mark.parametrize("masks", [True, False])
def test_a_layout_without_objects(masks):
    empty = sample(3, masks)
    empty["layout"] = empty["layout"].select([])
    assert RandomResizedCropLayout(scale=(0.2, 0.4))(empty) is empty


@pytest.mark.parametrize("empty", [0, 1])
def test_pasting_from_and_onto_a_layout_without_objects(empty):
    samples = [sample(0), sample(1)]
    samples[1]["layout"].ids = [4, 5, 6]
    samples[empty]["layout"] = samples[empty]["layout"].select([])
    paste = CopyPasteLayout(prob=1, max_objects=1)
    paste.use_samples(lambda index: samples[1], 1)
    result = paste(samples[0])
    assert len(result["layout"]) == (1 if empty == 0 else 3)


def test_what_pasting_needs(folder):
    with pytest.raises(UserError, match="other samples"):
        CopyPasteLayout(prob=1)(sample(0))
    without = LayoutCocoDataset(
        "train/instances.json",
        "train/images",
        str(folder),
        [dict(type="LoadLayoutImage", size=(32, 32)), CopyPasteLayout(prob=1)],
        filter_cfg=dict(min_objects=1),
    )
    with pytest.raises(UserError, match="after LoadLayoutMasks"):
        without[0]
    with pytest.raises(UserError, match="max_objects"):
        CopyPasteLayout(max_objects=0)
    assert not {CopyPasteLayout, RandomResizedCropLayout} & set(transforms.CACHEABLE)
    with pytest.raises(UserError, match="cache_latents.*CopyPasteLayout"):
        dataset(folder, CopyPasteLayout()).sample_cache(folder, None)
