"""Contrast, sharpness and camouflage of drawn discs and of MiniScenes' own pictures."""

import json

import cv2
import numpy as np
import pytest

from detdiffusion.datasets.miniscenes.writer import write_miniscenes
from detdiffusion.experiments.paper.factors import MEASURES, compare_factors, measure_object

SIZE = 64
YY, XX = np.mgrid[:SIZE, :SIZE]
DISC = (XX - 32) ** 2 + (YY - 32) ** 2 <= 14**2
NONE = np.zeros((SIZE, SIZE), bool)


def picture(inside=(200, 50, 50), outside=(80, 120, 60), blur=0.0, noise=0.0):
    image = np.empty((SIZE, SIZE, 3), np.float32)
    image[:], image[DISC] = outside, inside
    if blur:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    image[DISC] += noise * np.where((XX + YY)[DISC] % 2, 1, -1)[:, None]
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def test_contrast_of_flat_colours_is_their_distance():
    found = measure_object(picture(), DISC, NONE)
    assert found["contrast"] == pytest.approx(np.linalg.norm([120, -70, -10]), rel=1e-6)
    assert found["camouflage"] == 0


def test_each_measure_follows_its_cause():
    sharpness = [measure_object(picture(blur=b), DISC, NONE)["sharpness"] for b in (0, 0.8, 1.5, 3)]
    assert sharpness == sorted(sharpness, reverse=True) and sharpness[0] > 1.2 * sharpness[-1]
    faint = picture(inside=(110, 102, 58))  # a quarter of the contrast, the same edge
    assert measure_object(faint, DISC, NONE)["sharpness"] == pytest.approx(sharpness[0], rel=0.02)
    camouflage = [measure_object(picture(noise=n), DISC, NONE)["camouflage"] for n in (0, 10, 30)]
    assert camouflage[0] < camouflage[1] < camouflage[2]


def test_other_objects_are_not_surroundings():
    image, other = picture(), NONE.copy()
    other[:, 48:] = True
    before = measure_object(image, DISC, other)
    image[other] = 255
    assert measure_object(image, DISC, other)["contrast"] == pytest.approx(before["contrast"], rel=1e-6)
    assert measure_object(image, DISC, NONE)["contrast"] != pytest.approx(before["contrast"], rel=1e-3)


def test_too_small_is_none():
    tiny = NONE.copy()
    tiny[3:6, 3:6] = True
    assert measure_object(picture(), tiny, NONE) is None


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """60 scenes; as a generated set a sharp and a blurred, faded copy of the real images."""
    root = tmp_path_factory.mktemp("factors")
    split = write_miniscenes(root, "val", 60)
    source = json.loads((split / "instances.json").read_text())
    for name in ("easy", "hard"):
        (root / name / "images").mkdir(parents=True)
        images = [{**image, "source_image_id": image["id"]} for image in source["images"]]
        annotations = [{**a, "source_annotation_id": a["id"]} for a in source["annotations"]]
        made = {**source, "images": images, "annotations": annotations}
        (root / name / "annotations.json").write_text(json.dumps(made))
        for image in images:
            pixels = cv2.imread(str(split / "images" / image["file_name"]))
            if name == "hard":
                pixels = cv2.GaussianBlur(pixels, (0, 0), 1.5) // 2 + 64
            cv2.imwrite(str(root / name / "images" / image["file_name"]), pixels)
    return split, {name: root / name for name in ("easy", "hard")}


def test_measures_agree_with_the_hidden_factors(scenes):
    split, sets = scenes
    found = compare_factors(split / "instances.json", split / "images", sets)
    assert found["objects"] > 120 and set(found["validity"]) == set(MEASURES)
    assert found["validity"]["contrast"] < -0.5 and found["validity"]["sharpness"] < -0.4
    assert found["validity"]["camouflage"] > 0.4


def test_a_copy_measures_as_the_original_and_a_harder_one_harder(scenes):
    split, sets = scenes
    means = compare_factors(split / "instances.json", split / "images", sets)["means"]
    assert means["easy"] == means["real"]
    assert means["hard"]["contrast"] < 0.6 * means["easy"]["contrast"]
    assert means["hard"]["sharpness"] < means["easy"]["sharpness"]
