"""Findings about objects and splits: each one is found where it is, and a sound set has none."""

import numpy as np
import pytest
from PIL import Image

from detdiffusion.datasets.image_contents import equal_files, fingerprints, near_pairs
from detdiffusion.datasets.object_table import ObjectTable
from detdiffusion.datasets.set_findings import object_findings, shared_findings, split_pairs
from detdiffusion.datasets.split_check import content_findings


def table(objects, images=40, classes=("cat", "dog")):
    """``objects``: (image, label, box, crowd)."""
    return ObjectTable(
        list(classes),
        [f"{k}.jpg" for k in range(images)],
        np.full((images, 2), 100),
        np.array([o[0] for o in objects], np.int64),
        np.array([o[1] for o in objects], np.int64),
        np.array([o[2] for o in objects], np.float64).reshape(-1, 4),
        np.array([len(o) > 3 for o in objects], bool),
    )


SOUND = [(k, label, (10 * label, k, 20, 20)) for k in range(40) for label in range(2)]


def problems(found):
    return {finding.problem: finding.count for finding in found}


def test_sound_set_has_no_finding():
    assert object_findings(table(SOUND), "set") == []


@pytest.mark.parametrize(
    ("changed", "problem", "count"),
    [
        (table(SOUND, classes=("cat", "dog", "cow")), "class without an object in train", 1),
        (
            table(SOUND[:50] + [(k, 0, (1, 1, 2, 2)) for k in range(25, 40)]),
            "classes with fewer than 20 objects in train",
            None,
        ),
        (
            table([o for o in SOUND if o[1] == 0] + SOUND[1:20:2]),
            "class with fewer than 20 objects in train",
            1,
        ),
        (table([*SOUND, SOUND[3], SOUND[3]]), "object annotated twice with the same box", 2),
        (table([*SOUND, (0, 1, (0.1, 0, 20, 20))]), "box annotated with two classes", 1),
        (table(SOUND, images=43), "image without objects", 3),
        (table(SOUND[:58], images=29), "train has 29 images", 1),
        (
            table(SOUND + [(*o, True) for o in SOUND * 2]),
            "objects are marked as crowds, which are neither trained nor scored",
            160,
        ),
        (table([]), "train has no objects", 1),
    ],
)
def test_each_problem_is_found(changed, problem, count):
    found = problems(object_findings(changed, "set"))
    if count is None:
        assert problem not in found  # 25 and 40 objects
    else:
        assert found[problem] == count


def test_shares_of_the_image():
    assert table([(0, 0, (5, 5, 10, 20))]).shares().tolist() == [0.02]
    assert table(SOUND).objects_per_image().tolist() == [2] * 40


def test_splits_that_share_names():
    names = dict(
        train=["d/a.jpg", "d/x_jpg.rf.00000001.jpg"], val=["d/a.jpg", "e/x_jpg.rf.00000002.jpg", "d/c.jpg"]
    )
    found = shared_findings(names, "set")
    assert problems(found) == {
        "image in both train and val": 1,
        "photograph with copies in both train and val": 1,
    }
    assert {finding.severity for finding in found} == {"warning"}
    assert shared_findings(dict(train=["a.jpg"], val=["b.jpg"]), "set") == []


def test_a_union_of_splits_is_not_compared():
    contents = dict(train={1, 2}, val={3}, trainval={1, 2, 3}, test={4})
    assert split_pairs(contents) == [("train", "val"), ("train", "test"), ("val", "test")]


def smooth(seed, size=(64, 48)):
    """A picture of a few blobs, which keeps its hash when it is scaled or compressed."""
    small = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def files(tmp_path):
    """Two splits: an equal file, one compressed again, one of its own in each."""
    paths = {split: [tmp_path / split / f"{k}.jpg" for k in range(3)] for split in ("train", "val")}
    for split, listed in paths.items():
        (tmp_path / split).mkdir()
        for k, path in enumerate(listed):
            smooth(k if k < 2 else ord(split[0])).save(path, quality=95)
    smooth(1, (80, 60)).save(paths["val"][1], quality=60)
    return paths


def test_contents(files):
    assert len(equal_files([*files["train"], *files["val"]])) == 2
    pairs = near_pairs(fingerprints(files["train"], False), fingerprints(files["val"], False))
    assert [(a.name, b.name) for a, b in pairs] == [("0.jpg", "0.jpg"), ("1.jpg", "1.jpg")]
    found = content_findings(files, "set", sample=100, progress=False)
    assert problems(found) == {
        "file with the same content in both train and val": 1,
        "image that looks nearly the same in both train and val": 1,
    }
    assert [finding.severity for finding in found] == ["error", "warning"]
    assert len(content_findings(files, "set", sample=0, progress=False)) == 1


def test_blank_images_are_not_alike(tmp_path):
    paths = [tmp_path / f"{k}.png" for k in range(2)]
    for k, path in enumerate(paths):
        Image.new("RGB", (20, 20), (k, k, k)).save(path)
    assert near_pairs(fingerprints(paths[:1], False), fingerprints(paths[1:], False)) == []


def test_neighbouring_frames(tmp_path):
    """Frames of a moving picture in two splits, and numbered photographs that have nothing in common."""
    base = np.asarray(smooth(5, (200, 48)))
    for kind in ("video", "photo"):
        for k in range(10):
            image = Image.fromarray(base[:, k : k + 64]) if kind == "video" else smooth(100 + k)
            image.save(tmp_path / f"{kind}_{k:03d}.png")
    for kind, expected in (("video", True), ("photo", False)):
        splits = {
            s: [tmp_path / f"{kind}_{k:03d}.png" for k in range(first, 10, 2)]
            for s, first in (("train", 0), ("val", 1))
        }
        found = problems(content_findings(splits, "set", sample=10, progress=False))
        assert ("pair of neighbouring frames in both train and val" in found) == expected, kind
