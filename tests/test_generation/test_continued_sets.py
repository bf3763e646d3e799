"""A set continues as an undisturbed one, killed or grown; another run in its folder is refused."""

import json
import multiprocessing
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from tiny_folder import write_diffusers_folder
from tiny_generation import draw, pixels

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import sha256_of


def test_a_continued_run_has_the_pixels_of_an_undisturbed_one(world, tmp_path):
    draw(world, tmp_path / "whole")
    draw(world, tmp_path / "parts")
    names = sorted(pixels(tmp_path / "parts"))
    for name in (names[1], names[5]):
        (tmp_path / "parts/images" / name).unlink()
    counts = draw(world, tmp_path / "parts")
    assert (counts["written"], counts["already_there"], counts["missing_files"]) == (2, 4, 2)
    whole, parts = pixels(tmp_path / "whole"), pixels(tmp_path / "parts")
    assert all(np.array_equal(whole[k], parts[k]) for k in whole) and whole.keys() == parts.keys()
    assert (tmp_path / "whole/annotations.json").read_bytes() == (
        tmp_path / "parts/annotations.json"
    ).read_bytes()
    assert draw(world, tmp_path / "parts")["written"] == 0
    assert draw(world, tmp_path / "parts", limit=8)["written"] == 2  # a larger limit adds to the set


def test_a_file_says_how_many_images_of_each_layout_follow(world, tmp_path):
    """A set of one image a layout is continued by the file that the quality gate writes."""
    draw(world, tmp_path / "set", limit=3, steps=1)
    first = json.loads((tmp_path / "set/annotations.json").read_text())["images"]
    sources = [image["source_image_id"] for image in first]
    (tmp_path / "samples.json").write_text(json.dumps({sources[1]: 3}))
    counts = draw(world, tmp_path / "set", limit=3, steps=1, samples_file=tmp_path / "samples.json")
    assert (counts["already_there"], counts["written"]) == (3, 2)
    images = json.loads((tmp_path / "set/annotations.json").read_text())["images"]
    assert all(image in images for image in first)
    assert sorted(i["source_image_id"] for i in images) == sorted([*sources, sources[1], sources[1]])


def test_a_raised_limit_gives_the_set_of_a_run_without(world, tmp_path):
    """Which classes are rare is a matter of the whole set, however little of it is drawn."""
    settings = dict(edits=dict(swap=0.5, jitter=0.1), oversample_thr=1.0, seed=3)
    first = draw(world, tmp_path / "grown", limit=3, **settings)
    small = json.loads((tmp_path / "grown/annotations.json").read_text())
    assert first["written"] > 3
    second = draw(world, tmp_path / "grown", limit=None, **settings)
    assert second["already_there"] == first["written"] and second["written"] > 0
    draw(world, tmp_path / "whole", limit=None, **settings)
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    for name in ("annotations.json", "run.json"):
        assert (grown / name).read_bytes() == (whole / name).read_bytes()
    complete = json.loads((whole / "annotations.json").read_text())
    for key in ("images", "annotations"):
        assert all(one in complete[key] for one in small[key])
    assert any("source_category_id" in a for a in small["annotations"])
    a, b = pixels(grown), pixels(whole)
    assert a.keys() == b.keys() and max(np.abs(a[k] - b[k]).max() for k in a) <= 1


def test_another_filter_is_another_run(world, tmp_path):
    draw(world, tmp_path / "set", limit=1)
    text = (world / "config.py").read_text()
    (world / "filter.py").write_text(text.replace("min_objects=1", "min_objects=1, min_area_ratio=0.1"))
    with pytest.raises(UserError, match="another run.*layouts_sha256"):
        draw(world, tmp_path / "set", limit=1, config=str(world / "filter.py"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(seed=7), "another run.*seed: 0 there, 7 now"),
        (dict(strategy="easy"), "another run.*strategy: 'hard' there, 'easy' now"),
        (dict(checkpoint=None), "another run.*checkpoint"),
        (dict(steps=3), "another run.*num_inference_steps: 2 there, 3 now"),
    ],
)
def test_another_run_in_the_folder(world, tmp_path, change, message):
    draw(world, tmp_path, limit=1)
    with pytest.raises(UserError, match=message):
        draw(world, tmp_path, **change)


def test_a_set_made_before_there_were_plans_continues(world, tmp_path):
    """Its run.json lacks the fields; another plan is refused before the model is loaded."""
    whole = dict(limit=3, batch_size=1)
    draw(world, tmp_path / "whole", **whole)
    draw(world, tmp_path / "set", **{**whole, "limit": 1})
    run = json.loads((tmp_path / "set/run.json").read_text())
    for name in ("schedule", "guidance_interval", "guidance_rescale"):
        assert run.pop(name) is None
    (tmp_path / "set/run.json").write_text(json.dumps(run))
    with pytest.raises(UserError, match=r"guidance_interval: None there, .0.0, 0.5. now"):
        draw(world, tmp_path / "set", guidance_interval=(0, 0.5), **whole)
    draw(world, tmp_path / "set", guidance_interval=(0, 1), guidance_rescale=0.0, **whole)
    assert (tmp_path / "set/manifest.jsonl").read_bytes() == (tmp_path / "whole/manifest.jsonl").read_bytes()


def test_the_plan_of_the_config(world, tmp_path):
    text = (world / "config.py").read_text()
    (world / "planned.py").write_text(text + "sampling = dict(plan='fast', schedule='trailing')\n")
    planned = dict(config=str(world / "planned.py"), steps=None, limit=1)
    draw(world, tmp_path / "set", **planned)
    run = json.loads((tmp_path / "set/run.json").read_text())
    assert (run["num_inference_steps"], run["schedule"], run["guidance_interval"]) == (
        10,
        "trailing",
        [0.2, 0.8],
    )
    assert draw(world, tmp_path / "set", **planned)["already_there"] == 1
    with pytest.raises(UserError, match="schedule: 'trailing' there, None now"):
        draw(world, tmp_path / "set", **planned, plan="fast")


def test_other_weights_at_the_same_place(world, tmp_path):
    """Without a checkpoint the config's own weights count: here they are drawn by torch's seed."""
    for seed in (0, 0):
        torch.manual_seed(seed)
        draw(world, tmp_path, checkpoint=None, limit=2)
    torch.manual_seed(1)
    with pytest.raises(UserError, match="another run.*weights_sha256"):
        draw(world, tmp_path, checkpoint=None, limit=3)


def test_a_mask_head_of_another_process_is_not_another_run(world, repo_root, tmp_path):
    """It is drawn at random where there is no checkpoint, and drawing does without it."""
    options = [f"layout_folder={write_diffusers_folder(tmp_path / 'tiny')}", f"data_root={world}"]
    config = str(repo_root / "configs/detdiffusion_miniscenes.py")
    for seed in (0, 1):
        torch.manual_seed(seed)
        counts = draw(
            world, tmp_path / "set", config=config, checkpoint=None, cfg_options=options, limit=1 + seed
        )
    assert (counts["already_there"], counts["written"]) == (1, 1)


def test_what_makes_a_run(world, tmp_path):
    """A renamed checkpoint is the same one; of equally named annotation files each counts."""
    for name, file in (("a", "instances"), ("b", "stuff")):
        (tmp_path / name).mkdir()
        shutil.copy(world / f"train/{file}.json", tmp_path / name / "objects.json")
    ann = [str(tmp_path / name / "objects.json") for name in "ab"]
    draw(world, tmp_path / "set", ann=ann, limit=1)
    run = json.loads((tmp_path / "set/run.json").read_text())
    sums = [sha256_of(world / f"train/{file}.json") for file in ("instances", "stuff")]
    assert list(run["annotation_files"].items()) == list(zip(("objects.json", "objects.json (2)"), sums))
    shutil.copy(world / "weights.pth", tmp_path / "renamed.pth")
    counts = draw(world, tmp_path / "set", ann=ann, limit=1, checkpoint=str(tmp_path / "renamed.pth"))
    assert (counts["written"], counts["already_there"]) == (0, 1)


def test_killed_while_drawing_and_run_again(world, tmp_path):
    """A SIGKILL in the middle of a run; then the same run to its end equals an undisturbed one."""
    manifest = tmp_path / "killed/manifest.jsonl"
    settings = dict(samples_per_image=8, limit=None)
    child = multiprocessing.get_context("fork").Process(
        target=draw, args=(world, tmp_path / "killed"), kwargs=settings
    )
    child.start()
    while child.is_alive() and not (manifest.exists() and manifest.stat().st_size > 2000):
        time.sleep(0.01)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL, "the kill came after the end"
    again = draw(world, tmp_path / "killed", **settings)
    assert again["resumed"] > 0 and again["written"] > 0
    draw(world, tmp_path / "whole", **settings)
    killed, whole = pixels(tmp_path / "killed"), pixels(tmp_path / "whole")
    assert killed.keys() == whole.keys() and all(np.array_equal(killed[k], whole[k]) for k in whole)
    COCO(tmp_path / "killed/annotations.json")
