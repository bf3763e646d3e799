"""Looks of MiniScenes: the first is as it always was, random ones say nothing of the class, held-out ones differ."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from detdiffusion.datasets.miniscenes import THINGS, render, sample_scene, write_miniscenes
from detdiffusion.datasets.miniscenes.looks import CLASSIC, HELD_OUT, NAMES, RANDOM, look_of, random_look
from detdiffusion.datasets.miniscenes.scene import Scene, Thing
from detdiffusion.utils.errors import UserError


@pytest.mark.parametrize(
    "split, count, size, seed, pictures, annotations",
    [  # of the code before there were other looks
        ("train", 40, 64, 0, "dc033215966e42d6", "825cd80188737716"),
        ("val", 12, 96, 3, "22dc7345044f590a", "fd3c1abafdc5892d"),
        ("zoo", 3, 256, 1, "0f3a79ed48f1bd64", "73db362808ea053b"),
    ],
)
def test_the_first_look_is_as_it_was(tmp_path, split, count, size, seed, pictures, annotations):
    folder = write_miniscenes(tmp_path, split, count, size=size, seed=seed)
    digest = hashlib.sha256()
    for path in sorted((folder / "images").glob("*.png")):
        digest.update(cv2.imread(str(path)).tobytes())
    records = (folder / "instances.json").read_bytes() + (folder / "stuff.json").read_bytes()
    assert digest.hexdigest().startswith(pictures)
    assert hashlib.sha256(records).hexdigest().startswith(annotations)


@pytest.mark.parametrize("look", NAMES)
def test_a_look_changes_pictures_and_nothing_else(tmp_path, look):
    plain, other = (write_miniscenes(tmp_path / name, "val", 5, look=name) for name in ("classic", look))
    again = write_miniscenes(tmp_path / "again", "val", 5, look=look)
    for name in ("instances.json", "stuff.json"):
        first, second = (json.loads((folder / name).read_text()) for folder in (plain, other))
        assert second["info"].pop("look", "classic") == look
        assert first == second
    for path in (other / "images").glob("*.png"):
        assert path.read_bytes() == (again / "images" / path.name).read_bytes()
        changed = np.abs(cv2.imread(str(path)).astype(int) - cv2.imread(str(plain / "images" / path.name)))
        assert (changed.mean() > 15) == (look != "classic")


def contrast_of_easy_things(look_at):
    """Colour distance between an opaque thing and the band around it, in levels, for each class and stuff."""
    for label in range(len(THINGS)):
        for stuff in range(4):
            thing = Thing(label, 0.5, 0.5, 0.5, 0.5, 0.0)
            scene = Scene([(stuff, 0.0, 1.0)], [thing], texture_seed=100 * label + stuff)
            picture, (mask,), _, _ = render(scene, 64, look_at(scene))
            mask = mask.astype(np.uint8)
            around = cv2.dilate(mask, np.ones((9, 9), np.uint8)) - cv2.dilate(mask, np.ones((3, 3), np.uint8))
            inside, outside = (picture[region > 0].astype(float).mean(axis=0) for region in (mask, around))
            yield np.linalg.norm(inside - outside)


@pytest.mark.parametrize("look", NAMES)
def test_easy_things_stand_out_whatever_they_lie_on(look):
    distances = list(contrast_of_easy_things(lambda scene: look_of(look, scene)))
    assert min(distances) > 12 and np.quantile(distances, 0.1) > 25


def test_random_colours_say_nothing_of_the_class():
    looks = [random_look(np.random.default_rng(k)) for k in range(300)]
    bodies = np.stack([look.bodies for look in looks])
    within = bodies.std(axis=0).mean()
    between = bodies.mean(axis=0).std(axis=0).mean()
    assert within > 50 and between < 0.15 * within
    assert any(look.outline is not None for look in looks) and any(look.backdrop for look in looks)


def test_a_random_look_belongs_to_the_image():
    scenes = [sample_scene(0, index) for index in (0, 0, 1)]
    first, same, other = (look_of(RANDOM, scene) for scene in scenes)
    assert np.array_equal(first.bodies, same.bodies) and not np.array_equal(first.bodies, other.bodies)


def test_the_held_out_look_of_other_colours_is_a_camera_on_the_first_one():
    scene = sample_scene(0, 4)
    shown = render(scene, 64, HELD_OUT["swapped"])[0].astype(float)
    expected = 255 * (render(scene, 64, CLASSIC)[0][:, :, [2, 0, 1]] / 255) ** 1.3
    inside = (expected > 30) & (expected < 225)  # where the noise is not cut off
    assert abs((shown - expected)[inside].mean()) < 0.6
    assert (shown - expected)[inside].std() == pytest.approx(0.03 * 255, rel=0.1)


def test_an_unknown_look_is_refused(tmp_path):
    with pytest.raises(UserError, match="no look 'dawn'; it has: classic, swapped, dusk"):
        write_miniscenes(tmp_path, "val", 1, look="dawn")


def test_the_tool_names_every_look():
    tool = Path(__file__).resolve().parents[2] / "tools/dataset_converters/miniscenes.py"
    assert all(name in tool.read_text() for name in NAMES)
