"""Near copies of training images."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.spatial.distance import cdist

from detdiffusion import apis
from detdiffusion.datasets.miniscenes import write_miniscenes
from detdiffusion.evaluation.near_copies import (
    cosine_vectors,
    count_copies,
    count_duplicates,
    distances_within,
    find_nearest,
    pixel_vectors,
)
from detdiffusion.utils.errors import UserError


def test_nearest_and_limit_equal_scipys():
    rng = np.random.default_rng(0)
    real, others = rng.normal(size=(300, 7)), rng.normal(size=(280, 7))
    both = np.concatenate((real, real[:, ::-1]))
    distances = cdist(others, both)
    found = find_nearest(others, both)
    assert np.array_equal(found.index, distances.argmin(axis=1))
    np.testing.assert_allclose(found.distance, distances.min(axis=1), atol=1e-6)
    among = cdist(real, both)
    among[np.arange(300), np.arange(300)] = among[np.arange(300), 300 + np.arange(300)] = np.inf
    within = distances_within(real, both)
    np.testing.assert_allclose(within, among.min(axis=1), atol=1e-6)
    limit = np.quantile(within, 0.1)
    copies = count_copies(others, both, limit, 300)
    assert copies.share == pytest.approx((distances.min(axis=1) < limit).mean())
    assert np.array_equal(copies.nearest.index, distances.argmin(axis=1) % 300)
    unit = cosine_vectors(real)
    np.testing.assert_allclose(cdist(unit, unit) ** 2 / 2, cdist(real, real, "cosine"), atol=1e-9)


def test_equal_training_images_are_counted_and_copies_of_them_are_found():
    rng = np.random.default_rng(0)
    real = rng.random((20, 3072)).astype(np.float32) / 55  # as pixel_vectors scales them
    real[10:] = real[:10]  # every image twice: the limit is 0
    within = distances_within(real, real)
    assert count_duplicates(within) == 20 and np.quantile(within, 0.05) < 1e-6
    generated = np.concatenate((real[:3], rng.random((1, 3072)).astype(np.float32) / 55))
    assert count_copies(generated, real, 0.0, 20).share == 0.75
    assert count_duplicates(distances_within(real[:10], real[:10])) == 0


def test_copies_are_found_and_new_scenes_are_not(tmp_path):
    write_miniscenes(tmp_path, "train", 40, size=32)
    write_miniscenes(tmp_path, "new", 12, size=32)
    real = apis.AnnotatedImages(ann=[tmp_path / "train/instances.json"])
    names = [i["file_name"] for i in json.loads((tmp_path / "train/instances.json").read_text())["images"]]
    for name in ("new", "copies"):
        (tmp_path / f"sets/{name}/images").mkdir(parents=True)
    content = json.loads((tmp_path / "new/instances.json").read_text())
    (tmp_path / "sets/new/annotations.json").write_text(json.dumps(content))
    for image in content["images"]:
        shutil.copy(tmp_path / "new/images" / image["file_name"], tmp_path / "sets/new/images")
    for image, name in zip(content["images"], names):  # mirrored, with noise: still copies
        source = np.asarray(ImageOps.mirror(Image.open(tmp_path / "train/images" / name)), float)
        noisy = source + np.random.default_rng(0).normal(0, 6, source.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(
            tmp_path / "sets/copies/images" / image["file_name"]
        )
    shutil.copy(tmp_path / "sets/new/annotations.json", tmp_path / "sets/copies")
    sets = {name: tmp_path / "sets" / name for name in ("new", "copies")}
    report = apis.report_near_copies(real, sets, apis.ResultFolder(out=tmp_path / "out"), progress=False)
    assert report["sets"]["copies"]["pixels"]["share"] == 1 and report["sets"]["new"]["pixels"]["share"] < 0.3
    assert report["duplicates"] == 0
    assert json.loads((tmp_path / "out/near_copies.json").read_text()) == report
    assert Image.open(tmp_path / "out/near_copies_copies.png").size == (8 * 132 - 4, 260)
    vectors = pixel_vectors([tmp_path / "train/images" / name for name in names[:2]])
    pictures = [np.asarray(Image.open(tmp_path / "train/images" / name), float) / 255 for name in names[:2]]
    rms = np.sqrt(((pictures[0] - pictures[1]) ** 2).mean())
    assert np.linalg.norm(vectors[0] - vectors[1]) == pytest.approx(rms, rel=1e-4)


def test_one_training_image_has_no_limit():
    with pytest.raises(UserError, match="at least 2"):
        distances_within(np.zeros((1, 3)), np.zeros((1, 3)))
