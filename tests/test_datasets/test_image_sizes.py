"""Several training sizes: each image takes the nearest, batches have one, and cache and generation keep to it."""

import json
from collections import Counter
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from PIL import Image
from tiny_editor import build_editor
from tiny_generation import draw, write_world

from detdiffusion.datasets import LayoutCocoDataset, sample_cache
from detdiffusion.datasets.image_sizes import nearest_size, size_list, size_of_layout
from detdiffusion.datasets.samplers import SameSizeBatchSampler, SeededIndex, SeededSampler
from detdiffusion.datasets.transforms import LoadLayoutImage
from detdiffusion.engine import LatentCacheHook
from detdiffusion.engine.loops import ResumableEpochLoop
from detdiffusion.engine.run_checks import check_sizes
from detdiffusion.engine.runner import SafeRunner
from detdiffusion.structures import Layout
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError

SIZES = [(32, 32), (24, 40), (40, 24)]
SHAPES = [(60, 60), (48, 96), (96, 50), (60, 66)]  # height, width; the last is nearest to the square


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eleven images of four shapes, each with a box in its left half, whose pixels are white."""
    root = tmp_path_factory.mktemp("shapes")
    (root / "images").mkdir()
    images, annotations = [], []
    for i in range(11):
        height, width = SHAPES[i % 4]
        x, y, w, h = width // 8, height // 4, width // 4, height // 2
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[y : y + h, x : x + w] = 255
        cv2.imwrite(str(root / f"images/{i}.png"), pixels)
        images.append(dict(id=i, file_name=f"{i}.png", height=height, width=width))
        outline = [x, y, x + w, y, x + w, y + h, x, y + h]
        box = dict(bbox=[x, y, w, h], area=w * h, iscrowd=0, segmentation=[outline])
        annotations.append(dict(box, id=100 + i, image_id=i, category_id=1))
    data = dict(images=images, annotations=annotations, categories=[dict(id=1, name="ball")])
    (root / "instances.json").write_text(json.dumps(data))
    return root


def dataset(folder, *more, sizes=SIZES):
    steps = [dict(type="LoadLayoutImage", size=sizes), dict(type="LoadLayoutMasks"), *more]
    steps += [dict(type="RandomFlipLayout"), dict(type="PackLayoutInputs")]
    return LayoutCocoDataset(["instances.json"], "images", folder, steps, filter_cfg=dict(min_objects=1))


def test_the_nearest_size_is_that_of_the_aspect_ratio():
    assert [nearest_size(width, height, SIZES) for height, width in SHAPES] == [*SIZES, SIZES[0]]
    assert size_list([256, 128]) == [(256, 128)] and size_list(SIZES) == SIZES
    for wrong in ([], [8], [(8, 8), (8, 8)], [(8, 0)], [(8, 8.5)], 8, [(8, 8, 8)]):
        with pytest.raises(UserError, match="size must be"):
            LoadLayoutImage(size=wrong)


def test_images_and_masks_have_the_size_of_their_shape(folder):
    data = dataset(folder)
    for i, item in enumerate(data):
        size, layout = SIZES[i % 4 % 3], item["data_samples"].layout
        assert (
            tuple(item["inputs"].shape[1:]) == tuple(layout.masks.shape[1:]) == size == data.training_size(i)
        )
        inside = item["inputs"][:, layout.masks[0]]
        assert inside.float().mean() > 220 and layout.masks.sum() == pytest.approx(
            size[0] * size[1] / 8, rel=0.2
        )


@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_have_one_size_and_epochs_their_length(folder, drop_last):
    data, seen, batch = dataset(folder), Counter(), 3
    sampler = SeededSampler(data, seed=1)
    batches = SameSizeBatchSampler(sampler, batch, drop_last)
    for epoch in range(12):
        sampler.set_epoch(epoch)
        made = list(batches)
        assert len(made) == len(batches) == (3 if drop_last else 4)
        assert all(len(b) == batch and len({data.training_size(i) for i in b}) == 1 for b in made)
        seen.update({int(i) for b in made for i in b})
        batches.skip(2)
        assert list(batches) == made[2:]  # an epoch that is resumed
        assert list(batches) == made
    assert seen.keys() == set(range(len(data))) and min(seen.values()) >= 4  # every image in most epochs


def test_sizes_that_cannot_share_a_batch_are_refused(folder):
    data = dataset(folder)
    load = torch.utils.data.DataLoader
    check_sizes(
        "train_dataloader", load(data, batch_sampler=SameSizeBatchSampler(SeededSampler(data, seed=0), 2))
    )
    check_sizes("train_dataloader", load(data, batch_size=1))
    check_sizes("train_dataloader", load(dataset(folder, sizes=(32, 32)), batch_size=2))
    with pytest.raises(UserError, match="val_dataloader: its images have 3 sizes.*SameSizeBatchSampler"):
        check_sizes("val_dataloader", load(data, batch_size=2))
    with pytest.raises(UserError, match="SameSizeBatchSampler: needs a data set whose pipeline loads images"):
        SameSizeBatchSampler(DefaultSampler([1, 2]), 2)
    layout = Layout([[0, 0, 1, 1]], ["ball"], image_id=7)
    assert size_of_layout(layout, [(8, 8)]) == (8, 8)
    with pytest.raises(UserError, match="image 7 has no width and height"):
        size_of_layout(layout, SIZES)


def test_the_learning_rate_scales_with_batches_of_one_size(folder):
    data = dataset(folder)
    batches = SameSizeBatchSampler(SeededSampler(data, seed=0), 4)
    runner = SafeRunner.__new__(SafeRunner)
    runner._train_dataloader = torch.utils.data.DataLoader(data, batch_sampler=batches)
    runner._world_size, runner.logger, runner.param_schedulers = 1, MMLogger.get_current_instance(), None
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    runner.scale_lr(OptimWrapper(optimizer), dict(enable=True, base_batch_size=16))
    assert optimizer.param_groups[0]["lr"] == 0.25 and runner._train_dataloader.batch_sampler is batches


def test_all_ranks_have_as_many_batches(folder, monkeypatch):
    from mmengine.dataset import sampler as of_mmengine

    data, lengths = dataset(folder), []
    for rank in range(2):
        monkeypatch.setattr(of_mmengine, "get_dist_info", lambda rank=rank: (rank, 2))
        batches = SameSizeBatchSampler(DefaultSampler(data, seed=0), 2)
        lengths.append((len(batches), len(list(batches))))
    assert lengths == [(3, 3), (3, 3)]


def test_an_epoch_goes_on_behind_the_batches_that_are_done(folder):
    """With the batch sampler, and with mmengine's batches of a sampler that can skip."""
    data = dataset(folder, sizes=(32, 32))
    for options in (
        dict(batch_sampler=SameSizeBatchSampler(SeededSampler(data, seed=0), 2)),
        dict(sampler=SeededSampler(data, seed=0), batch_size=2),
    ):
        loader = torch.utils.data.DataLoader(
            data, collate_fn=lambda items: [i["data_samples"].image_id for i in items], **options
        )
        whole = list(loader)
        assert ResumableEpochLoop._skip(SimpleNamespace(dataloader=loader), 4)
        assert list(loader) == whole[4:] and len(whole) == 6


def test_cached_latents_are_those_of_the_images(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sample_cache, "SHARD", 2)
    editor = build_editor(tmp_path / "editor", null_text_prob=0.0)
    editor.cache_latents = True
    plain, cached = dataset(folder), dataset(folder)
    loader = torch.utils.data.DataLoader(cached)
    run = SimpleNamespace(model=editor, train_loop=SimpleNamespace(dataloader=loader), work_dir=str(tmp_path))
    LatentCacheHook(batch_size=2).before_train(run)
    for number in (SeededIndex(i, seed) for i in range(11) for seed in range(3)):
        (item, found) = plain[number], cached[number]["data_samples"]
        image = editor.data_preprocessor(dict(inputs=[item["inputs"]]), False)["inputs"]
        with torch.no_grad():
            moments = torch.cat(editor.posterior(image))
        torch.testing.assert_close(found.moments.float(), moments, rtol=2e-3, atol=1e-4)
        assert found.flip == item["data_samples"].flip
        assert torch.equal(found.layout.masks, item["data_samples"].layout.masks)


def test_objects_of_another_size_are_pasted(folder):
    """They lie at the same place, so each replaces the image's own."""
    data, shapes = dataset(folder, dict(type="CopyPasteLayout", prob=1.0)), set()
    for i, seed in np.ndindex(4, 4):
        item = data[SeededIndex(i, seed)]
        layout, size = item["data_samples"].layout, tuple(item["inputs"].shape[1:])
        assert tuple(layout.masks.shape[1:]) == size == data.training_size(i)
        assert item["inputs"][:, layout.masks[-1]].float().mean() > 220
        shapes.add((size, data.training_size(layout.ids[-1] - 100)))
    assert len(shapes) > len(SIZES)


def test_generated_images_have_the_sizes_of_the_training(tmp_path):
    """A set is continued at its sizes; one of one size is another run."""
    world = write_world(tmp_path / "world", images=7)
    data = json.loads((world / "train/instances.json").read_text())
    for i, image in enumerate(data["images"]):
        if i % 2:
            image["width"] *= 2
    (world / "train/instances.json").write_text(json.dumps(data))
    stuff = json.loads((world / "train/stuff.json").read_text())
    (world / "train/stuff.json").write_text(json.dumps(dict(stuff, images=data["images"])))
    text = (world / "config.py").read_text()
    loads = '[dict(type="LoadLayoutImage", size=[(32, 32), (24, 48)])]'
    (world / "config.py").write_text(f"{text}\ntrain_dataloader = dict(dataset=dict(pipeline={loads}))\n")
    assert len(load_config(str(world / "config.py")).train_dataloader.dataset.pipeline[0].size) == 2
    draw(world, tmp_path / "set", strategy="easy", limit=5, batch_size=2)
    draw(world, tmp_path / "set", strategy="easy", limit=6, batch_size=2)
    draw(world, tmp_path / "whole", strategy="easy", limit=6, batch_size=2)
    same = ("annotations.json", *(f"images/{path.name}" for path in (tmp_path / "whole/images").iterdir()))
    assert len(same) == 7 and all(
        (tmp_path / "set" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in same
    )
    made = json.loads((tmp_path / "set/annotations.json").read_text())
    wide = {image["id"] for image in data["images"] if image["width"] == 64}
    for image in made["images"]:
        size = (48, 24) if image["source_image_id"] in wide else (32, 32)
        assert (
            (image["width"], image["height"])
            == size
            == Image.open(tmp_path / "set/images" / image["file_name"]).size
        )
    assert {image["source_image_id"] in wide for image in made["images"]} == {True, False}
    assert json.loads((tmp_path / "set/run.json").read_text())["sizes"] == [[32, 32], [24, 48]]
    with pytest.raises(UserError, match="another run.*height: None there, 32 now"):
        draw(
            world,
            tmp_path / "set",
            strategy="easy",
            limit=5,
            batch_size=2,
            height=32,
            width=32,
        )
