"""Latents and masks from the cache are those of the images; the cache is found again, and made anew when it must be."""

import pickle
import re
import shutil
from types import SimpleNamespace

import cv2
import pytest
import torch
from tiny_editor import build_editor

from detdiffusion.datasets import LayoutCocoDataset, sample_cache
from detdiffusion.datasets.miniscenes import write_miniscenes
from detdiffusion.datasets.samplers import SeededIndex
from detdiffusion.engine import LatentCacheHook, latent_cache_hook
from detdiffusion.utils.errors import UserError


@pytest.fixture(scope="module")
def editor(tmp_path_factory):
    editor = build_editor(tmp_path_factory.mktemp("editor"), null_text_prob=0.0)
    editor.cache_latents = True
    return editor


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_cache, "SHARD", 4)
    return write_miniscenes(tmp_path / "data", "train", 10, size=64)


ALL = dict(prob=0.75, direction=["horizontal", "vertical", "diagonal"])


def dataset(folder, size=(64, 64), extra=(), masks=True, flip=None):
    steps = [dict(type="LoadLayoutImage", size=size), *([dict(type="LoadLayoutMasks")] if masks else [])]
    steps += [*extra, dict(type="RandomFlipLayout", **flip or {}), dict(type="PackLayoutInputs")]
    return LayoutCocoDataset(
        ["instances.json", "stuff.json"], "images", folder, steps, filter_cfg=dict(min_objects=1)
    )


def fill(editor, data, work_dir, workers=0):
    """What the runner does before the first step; returns the cache's folder."""
    loader = torch.utils.data.DataLoader(data, num_workers=workers)
    runner = SimpleNamespace(
        model=editor, train_loop=SimpleNamespace(dataloader=loader), work_dir=str(work_dir)
    )
    LatentCacheHook(batch_size=3).before_train(runner)
    return data._cache.folder


def indices(count):
    """Every sample, mirrored and not: flips follow the seed."""
    return [SeededIndex(i, 4 * i + seed) for i in range(count) for seed in range(4)]


@pytest.mark.parametrize("size, workers, flip", [((64, 64), 0, None), ((40, 56), 2, ALL)])
def test_latents_and_masks_are_those_of_the_images(editor, scenes, tmp_path, size, workers, flip):
    plain, cached = dataset(scenes, size, flip=flip), dataset(scenes, size, flip=flip)
    expected = [plain[i] for i in indices(len(plain))]
    before = torch.get_rng_state()
    fill(editor, cached, tmp_path, workers)
    assert torch.equal(before, torch.get_rng_state())
    shutil.rmtree(scenes / "images")  # no image is read any more
    flips = set()
    for index, item in zip(indices(len(plain)), expected):
        found, sample = cached[index], item["data_samples"]
        flips.add(sample.flip_direction)
        assert found["data_samples"].flip == sample.flip == bool(sample.flip_direction)
        image = editor.data_preprocessor(dict(inputs=[item["inputs"]]), False)["inputs"]
        with torch.no_grad():
            moments = torch.cat(editor.posterior(image))
        assert found["data_samples"].moments.dtype == torch.float16
        torch.testing.assert_close(found["data_samples"].moments.float(), moments, rtol=2e-3, atol=1e-4)
        for field in ("boxes", "masks", "labels"):
            assert torch.equal(getattr(found["data_samples"].layout, field), getattr(sample.layout, field))
    assert flips == {None, *(flip or dict(direction=["horizontal"]))["direction"]}
    again = pickle.loads(pickle.dumps(cached))  # as spawned workers get it
    left, right = again[3]["data_samples"], cached[3]["data_samples"]
    assert left.layout.masks.equal(right.layout.masks) or left.flip_direction != right.flip_direction


def test_damaged_parts_are_made_anew(editor, scenes, tmp_path):
    folder = fill(editor, dataset(scenes), tmp_path)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "latents_00001.npy").write_bytes(whole["latents_00001.npy"][:200])
    (folder / "masks_00000.npz").write_bytes(b"")
    assert fill(editor, dataset(scenes), tmp_path) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_it_says_how_far_it_is(editor, scenes, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(latent_cache_hook, "print_log", lambda text, **kwargs: said.append(text))
    loader = torch.utils.data.DataLoader(dataset(scenes))
    runner = SimpleNamespace(
        model=editor, train_loop=SimpleNamespace(dataloader=loader), work_dir=str(tmp_path)
    )
    LatentCacheHook(batch_size=2, say_every=0).before_train(runner)
    assert re.fullmatch(r"latents: part 1 of 3, 2 of 4 images, \d+:\d\d:\d\d left", said[1])
    assert sum("written" in text for text in said) == 3


def test_losses_are_those_without_the_cache(editor, scenes, tmp_path):
    plain, cached = dataset(scenes), dataset(scenes)
    fill(editor, cached, tmp_path)
    values = []
    for data in (plain, cached):
        items = [data[SeededIndex(i, i)] for i in range(4)]
        for item in items:
            item["data_samples"].layout.attributes = ["hard"] * len(item["data_samples"].layout)
        batch = {key: [item[key] for item in items] for key in items[0]}
        torch.manual_seed(3)
        losses = editor(**editor.data_preprocessor(batch, True), mode="loss")
        values.append({name: float(loss.detach()) for name, loss in losses.items()})
    assert values[0] == pytest.approx(values[1], rel=5e-3)


def test_it_is_made_once_and_goes_on_where_it_stopped(editor, scenes, tmp_path, monkeypatch):
    folder = fill(editor, dataset(scenes), tmp_path)
    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(files) == 6  # three shards of latents and of masks
    made = []
    original = type(editor).posterior
    monkeypatch.setattr(
        type(editor), "posterior", lambda self, x: (made.append(len(x)), original(self, x))[1]
    )
    assert fill(editor, dataset(scenes), tmp_path) == folder and not made
    (folder / "latents_00001.npy").unlink()
    (folder / ".tmp-latents_00001.npy-x").write_bytes(b"half")  # of a process that was killed
    fill(editor, dataset(scenes), tmp_path)
    assert sum(made) == 8  # four images and their mirror images
    kept = {path for path in files if path.stat().st_mtime_ns == files[path]}
    assert len(kept) == 4


def test_other_weights_images_sizes_and_masks_have_their_own(editor, scenes, tmp_path):
    folders = {fill(editor, dataset(scenes), tmp_path)}
    folders.add(fill(editor, dataset(scenes, (32, 32)), tmp_path))
    folders.add(fill(editor, dataset(scenes, masks=False), tmp_path))
    folders.add(fill(editor, dataset(scenes, flip=ALL), tmp_path))
    path = next((scenes / "images").iterdir())
    cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    folders.add(fill(editor, dataset(scenes), tmp_path))
    weight = next(editor.vae.parameters())
    weight.data += 1e-3
    folders.add(fill(editor, dataset(scenes), tmp_path))
    weight.data -= 1e-3
    assert len(folders) == 6


def test_what_cannot_be_cached_is_said(editor, scenes, tmp_path, monkeypatch):
    data = dataset(scenes, extra=[lambda results: results])
    with pytest.raises(UserError, match="function.* must begin with LoadLayoutImage and have only"):
        fill(editor, data, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(
        UserError, match=r"cache_latents: .* needs 0\.0 GB and has 0\.0; choose another folder"
    ):
        fill(editor, dataset(scenes), tmp_path / "full")
