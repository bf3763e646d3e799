"""MiniScenes: same seed, same bytes; exact COCO form; a difficulty that the pictures really show."""

import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from detdiffusion.datasets.miniscenes import STUFF, THINGS, render, sample_scene, write_miniscenes
from detdiffusion.datasets.miniscenes.scene import Scene, Thing


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return write_miniscenes(tmp_path_factory.mktemp("miniscenes"), "train", 150, size=64, seed=3)


def test_same_seed_same_bytes(split, tmp_path):
    again = write_miniscenes(tmp_path, "train", 150, size=64, seed=3)
    other = write_miniscenes(tmp_path / "other", "train", 150, size=64, seed=4)
    files = sorted(path.relative_to(split) for path in split.rglob("*.*") if path.is_file())
    assert len(files) == 152
    assert all((split / name).read_bytes() == (again / name).read_bytes() for name in files)
    assert (split / "instances.json").read_bytes() != (other / "instances.json").read_bytes()


def test_pycocotools_reads_it_and_masks_agree_with_boxes(split):
    seen_ids = set()
    for name, classes in (("instances", THINGS), ("stuff", STUFF)):
        coco = COCO(str(split / f"{name}.json"))
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(classes)
        for annotation in coco.anns.values():
            mask = coco.annToMask(annotation)
            ys, xs = np.nonzero(mask)
            x, y, w, h = annotation["bbox"]
            assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == (x, y, x + w, y + h)
            assert mask.sum() == annotation["area"]
            assert annotation["id"] not in seen_ids
            seen_ids.add(annotation["id"])
    assert {
        a["category_id"] for a in json.loads((split / "instances.json").read_text())["annotations"]
    } == set(range(1, 9))


def test_visible_masks_never_overlap(split):
    coco, stuff = COCO(str(split / "instances.json")), COCO(str(split / "stuff.json"))
    for image_id in coco.getImgIds():
        annotations = coco.imgToAnns[image_id] + stuff.imgToAnns[image_id]
        cover = sum(coco.annToMask(annotation).astype(int) for annotation in annotations)
        assert cover.max() == 1


def test_it_has_what_a_benchmark_needs(split):
    annotations = json.loads((split / "instances.json").read_text())["annotations"]
    assert any(a["iscrowd"] for a in annotations)
    plain = [a for a in annotations if not a["iscrowd"]]
    assert any(a["area"] < 0.02 * 64 * 64 for a in plain)
    scores = np.array([a["difficulty"]["score"] for a in plain])
    assert 0 <= scores.min() < 0.15 and 0.4 < scores.max() <= 1
    assert any(a["difficulty"]["occlusion"] > 0.1 for a in plain)


@pytest.mark.parametrize("factor, easy, hard", [("contrast", 1.0, 0.2), ("blur", 0.0, 2.2)])
def test_a_harder_factor_shows_in_the_picture(factor, easy, hard):
    def edge(value):
        thing = Thing(0, 0.5, 0.5, 0.4, 0.4, 0.0, **{factor: value})
        picture = render(Scene([(0, 0.0, 1.0)], [thing]), 64)[0]
        return cv2.Laplacian(picture, cv2.CV_64F).var()

    assert edge(easy) > 2 * edge(hard)


def test_a_scene_is_the_same_at_any_size():
    small, large = (render(sample_scene(0, 5), size)[0] for size in (64, 256))
    shrunk = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(cv2.blur(shrunk, (9, 9)) - cv2.blur(small.astype(float), (9, 9))).mean() < 8


def test_bad_sizes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="size=16"):
        write_miniscenes(tmp_path, "train", 1, size=16)
