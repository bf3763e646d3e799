"""Images for an autoencoder: patches are true cut-outs, drawn from the sampler's seed."""

import cv2
import numpy as np
import pytest

from detdiffusion.datasets import ImagePatches
from detdiffusion.datasets.samplers import SeededIndex
from detdiffusion.utils.errors import UserError


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for name, count, shape in (("scenes", 3, (16, 16, 3)), ("photographs", 2, (40, 64, 3))):
        (tmp_path / name).mkdir()
        for k in range(count):
            cv2.imwrite(str(tmp_path / name / f"{k}.png"), rng.integers(0, 256, shape, np.uint8))
    (tmp_path / "scenes" / "note.txt").write_text("no image")
    return tmp_path


def read(path):
    return cv2.imread(str(path))[:, :, ::-1].transpose(2, 0, 1)


def test_whole_images_come_as_they_are_or_mirrored(folders):
    data = ImagePatches([dict(img_dir="scenes")], 16, data_root=str(folders))
    assert len(data) == 3
    seen = set()
    for seed in range(1, 30):
        picture, original = data[SeededIndex(1, seed)]["inputs"].numpy(), read(folders / "scenes/1.png")
        mirrored = not np.array_equal(picture, original)
        assert not mirrored or np.array_equal(picture, original[:, :, ::-1])
        seen.add(mirrored)
    assert seen == {True, False}


def test_patches_are_cut_outs_and_a_pure_function_of_the_seed(folders):
    source = dict(img_dir="photographs", repeat=3, patch=(0.4, 0.4))  # 16 of 40 pixels: nothing to resize
    data = ImagePatches([source], 16, data_root=str(folders))
    assert len(data) == 6
    photograph = read(folders / "photographs/0.png")
    windows = np.lib.stride_tricks.sliding_window_view(photograph, (3, 16, 16))[0]
    places = set()
    for seed in range(1, 9):
        patch = data[SeededIndex(0, seed)]["inputs"].numpy()
        assert np.array_equal(patch, data[SeededIndex(2, seed)]["inputs"].numpy())  # the same photograph
        found = [
            tuple(place)
            for version in (patch, patch[:, :, ::-1])
            for place in np.argwhere((windows == version).all(axis=(2, 3, 4)))
        ]
        assert len(found) == 1
        places.update(found)
    assert len(places) > 4


def test_sides_of_patches_fill_their_range(folders):
    ramp = np.tile(np.arange(240, dtype=np.uint8)[None, :, None], (240, 1, 3))
    (folders / "ramp").mkdir()
    cv2.imwrite(str(folders / "ramp/0.png"), ramp)
    data = ImagePatches([dict(img_dir=str(folders / "ramp"), patch=(0.2, 1.0))], 8)
    spans = [np.ptp(data[SeededIndex(0, seed)]["inputs"].numpy().astype(int)) for seed in range(1, 200)]
    assert 0.2 * 240 * 0.8 < min(spans) < 60 and 180 < max(spans) <= 240
    assert np.median(spans) == pytest.approx(240 * 0.2**0.5 * 7 / 8, rel=0.15)  # even on a logarithmic scale


@pytest.mark.parametrize(
    "source, message",
    [
        (dict(img_dir="nowhere"), "no image folder '.*nowhere'"),
        (dict(img_dir="empty"), "'.*empty' has no image"),
        (dict(img_dir="scenes", scale=2), "a source has img_dir, repeat and patch, got .*scale"),
        (dict(img_dir="scenes", patch=(0, 1)), r"patch must be a range within \(0, 1\], got \(0, 1\)"),
        (dict(img_dir="scenes", repeat=0), "repeat must be 1 or more, got 0"),
    ],
)
def test_bad_sources_are_refused(folders, source, message):
    (folders / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        ImagePatches([source], 16, data_root=str(folders))


def test_a_damaged_image_is_named(folders):
    (folders / "scenes" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="0.png: cannot be read"):
        ImagePatches([dict(img_dir="scenes")], 16, data_root=str(folders))[0]
