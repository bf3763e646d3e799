"""tools/generate.py end to end: a tiny editor, MiniScenes layouts, a checkpoint with averaged weights."""

import json
import logging
import multiprocessing
import runpy
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from tiny_folder import write_diffusers_folder
from tiny_generation import draw, pixels, write_config, write_world

from detdiffusion.apis.inferencer import DetDiffusionInferencer
from detdiffusion.generation.identity import noise_seed, synthetic_image_id
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import sha256_of


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"))


def source(world):
    merged = {}
    for name in ("instances", "stuff"):
        data = json.loads((world / f"train/{name}.json").read_text())
        merged.update({a["id"]: (a, data["categories"]) for a in data["annotations"]})
    return merged


def test_annotations_are_the_prompted_source_objects(world, tmp_path):
    counts = draw(world, tmp_path / "set", samples_per_image=2)
    assert counts["written"] == 12 and counts["objects_not_prompted"] == 0
    coco, original = COCO(tmp_path / "set/annotations.json"), source(world)
    names = {a["category_id"]: c for a, categories in original.values() for c in categories}
    assert len(coco.getImgIds()) == 12 and len(coco.dataset["categories"]) == 12 and names
    for info in coco.dataset["images"]:
        assert info["id"] == synthetic_image_id(info["source_image_id"], "hard", info["sample_index"], 0)
        assert (info["strategy"], info["seed"]) == ("hard", 0)
        with Image.open(tmp_path / "set/images" / info["file_name"]) as image:
            assert image.size == (info["width"], info["height"]) == (32, 32)
    for annotation in coco.dataset["annotations"]:
        twin = original[annotation["source_annotation_id"]][0]
        assert annotation["category_id"] == twin["category_id"] and annotation["iscrowd"] == 0
        assert np.allclose(annotation["bbox"], twin["bbox"], atol=0.01)  # equal sizes: equal pixels
        assert annotation["area"] == pytest.approx(annotation["bbox"][2] * annotation["bbox"][3], abs=0.01)
        assert annotation["attribute"] == ("background" if twin["category_id"] > 8 else "hard")
        assert "segmentation" not in annotation


def test_boxes_are_in_the_generated_images_pixels(world, tmp_path):
    draw(world, tmp_path / "wide", limit=2, height=32, width=64)
    coco, original = COCO(tmp_path / "wide/annotations.json"), source(world)
    for annotation in coco.dataset["annotations"]:
        x, y, w, h = original[annotation["source_annotation_id"]][0]["bbox"]
        assert np.allclose(annotation["bbox"], [2 * x, y, 2 * w, h], atol=0.01)
    assert {(i["width"], i["height"]) for i in coco.dataset["images"]} == {(64, 32)}


def test_a_models_own_size_is_drawn_and_another_one_noted(world, tmp_path, capsys):
    wide = ["model.unet.sample_size=[8,12]"]  # rows and columns of the latents, 2 px each
    draw(world, tmp_path / "own", limit=2, cfg_options=wide)
    assert {image.shape for image in pixels(tmp_path / "own").values()} == {(16, 24, 3)}
    assert "note:" not in capsys.readouterr().out
    draw(world, tmp_path / "turned", limit=2, cfg_options=wide, height=24, width=16)
    assert {image.shape for image in pixels(tmp_path / "turned").values()} == {(24, 16, 3)}
    assert (
        "note: generating 24 x 16 images (height x width), but the model's default is 16 x 24"
        in capsys.readouterr().out
    )


def test_objects_without_room_in_the_prompt_are_not_annotated(world, tmp_path):
    config = write_config(world, "short.py", max_length=40)
    counts = draw(world, tmp_path / "short", config=config, checkpoint=None)
    assert counts["objects_not_prompted"] > 0
    lines = [json.loads(x) for x in (tmp_path / "short/manifest.jsonl").read_text().splitlines()]
    assert sum(len(line["not_prompted"]) for line in lines) == counts["objects_not_prompted"]
    for line in lines:
        assert line["prompt"].count("[") == len(line["annotations"])
        assert not {a["source_annotation_id"] for a in line["annotations"]} & set(line["not_prompted"])


def test_pixels_are_the_editors_for_that_noise_and_do_not_depend_on_the_batch(world, tmp_path):
    draw(world, tmp_path / "four")
    draw(world, tmp_path / "one", batch_size=1)
    four, one = pixels(tmp_path / "four"), pixels(tmp_path / "one")
    assert four.keys() == one.keys()
    assert max(np.abs(four[k] - one[k]).max() for k in four) <= 1
    editor = DetDiffusionInferencer(str(world / "config.py"), world / "weights.pth", device="cpu")
    from detdiffusion.datasets import LayoutCocoDataset

    dataset = LayoutCocoDataset(
        [world / "train/instances.json", world / "train/stuff.json"],
        world / "train/images",
        filter_cfg=dict(min_objects=1),
    )
    layout = dataset.layouts[1]
    hard = layout.with_attributes(["background" if c > 8 else "hard" for c in layout.category_ids])
    generator = torch.Generator().manual_seed(noise_seed(layout.image_id, 0, 0))
    image = editor([hard], [generator], num_inference_steps=2)["samples"][0]
    expected = (image * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(one[f"{layout.image_id:012d}_hard_seed0_000.png"] - expected).max() <= 1
    assert len({image.tobytes() for image in one.values()}) == 6


def test_strategies_share_noise_and_differ_by_attributes(world, tmp_path):
    lines = {}
    for strategy in ("origin", "easy", "hard"):
        draw(world, tmp_path / strategy, strategy)
        lines[strategy] = [
            json.loads(x) for x in (tmp_path / strategy / "manifest.jsonl").read_text().splitlines()
        ]
    for origin, easy, hard in zip(*lines.values()):
        assert origin["noise_seed"] == easy["noise_seed"] == hard["noise_seed"]
        assert easy["prompt"] == hard["prompt"].replace("[hard]", "[easy]")
        assert len({line["image"]["id"] for line in (origin, easy, hard)}) == 3
    found = {a["attribute"] for line in lines["origin"] for a in line["annotations"]}
    assert found == {"easy", "hard", "background"}


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


def test_attributes_of_another_split_name_the_classes(world, tmp_path, capsys):
    data = json.loads((world / "attributes.json").read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps(dict(data, attributes={"999999999": "easy"})))
    draw(world, tmp_path / "a", attributes=str(other))
    draw(world, tmp_path / "b")
    assert "only its list of 8 nameable" in capsys.readouterr().out
    a, b = (json.loads((tmp_path / x / "annotations.json").read_text())["annotations"] for x in "ab")
    assert a == b
    with pytest.raises(UserError, match="no attribute for"):
        draw(world, tmp_path / "c", "origin", attributes=str(other))


def test_attributes_file_of_the_config(world, tmp_path):
    step = f"dict(type='LoadPerceptionAttributes', attributes_file='{world}/attributes.json')"
    config = world / "named.py"
    text = (world / "config.py").read_text()
    config.write_text(f"{text}\ntrain_dataloader = dict(dataset=dict(pipeline=[{step}]))\n")
    draw(world, tmp_path / "named", config=str(config), attributes=None, limit=2)
    draw(world, tmp_path / "given", limit=2)
    named, given = (json.loads((tmp_path / x / "annotations.json").read_text()) for x in ("named", "given"))
    assert named["annotations"] == given["annotations"]


def test_model_without_attributes(world, tmp_path):
    config = write_config(world, "geo.py", attributes=False)
    draw(world, tmp_path / "geo", "origin", config=config, checkpoint=None, attributes=None, limit=2)
    annotations = json.loads((tmp_path / "geo/annotations.json").read_text())["annotations"]
    assert {a["attribute"] for a in annotations} == {None}
    with pytest.raises(UserError, match="does not use attributes; use 'origin'"):
        draw(world, tmp_path / "geo2", "easy", config=config, checkpoint=None)


@pytest.mark.parametrize("listed", [None, "attributes.json"])
def test_stuff_of_a_model_without_attributes(world, tmp_path, capsys, listed):
    """Classes of the stuff's file, or those that an attributes file does not list, are only mirrored."""
    write_config(world, "geo.py", attributes=False)
    attributes = None
    if listed:
        attributes = tmp_path / listed
        attributes.write_text(json.dumps(dict(info=dict(nameable=["ball"]), attributes={"1": "easy"})))
    options = dict(config=str(world / "geo.py"), checkpoint=None, attributes=listed and str(attributes))
    draw(world, tmp_path / "geo", "origin", **options, limit=4, edits=dict(jitter=0.3, drop=0.4), steps=1)
    assert ("count as stuff, which edits only mirror: " in capsys.readouterr().out) == (listed is None)
    data = json.loads((tmp_path / "geo/annotations.json").read_text())
    stuff = {a["id"]: a for a in json.loads((world / "train/stuff.json").read_text())["annotations"]}
    done = {a["source_annotation_id"] in stuff: set() for a in data["annotations"]}
    for a in data["annotations"]:
        done[a["source_annotation_id"] in stuff].add(a["edits"])
    assert done[True] == {""} and (listed or "jitter" in done[False])
    assert not {key for image in data["images"] for key in image["dropped"]} & stuff.keys()
    run = json.loads((tmp_path / "geo/run.json").read_text())
    assert run["attributes_sha256"] == (sha256_of(attributes) if listed else None)


def test_layouts_of_other_files(world, tmp_path):
    ann = [str(world / "train/instances.json"), str(world / "train/stuff.json")]
    draw(world, tmp_path / "a", ann=ann, limit=3)
    draw(world, tmp_path / "b", limit=3)
    a, b = pixels(tmp_path / "a"), pixels(tmp_path / "b")
    assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(config="nowhere.py"), "nowhere.py does not exist"),
        (dict(checkpoint="nowhere.pth"), "nowhere.pth does not exist"),
        (dict(attributes="nowhere.json"), "no such attributes file"),
        (dict(attributes=None), "no attributes file is given: set `attributes`"),
        (dict(split="test"), "no layouts for split 'test' .it has: train"),
        (dict(ann=["nowhere.json"]), "no such COCO json file"),
        (dict(img_dir="x"), "`img_dir` requires `ann`"),
        (dict(batch_size=0), "`batch_size` must be at least 1"),
        (dict(height=0), "`height` must be at least 1, it is 0"),
        (dict(width=33), "height and width must be divisible by 2, got 32 x 33"),
        (dict(device="cudo"), "`device` cudo: no such device; this machine has cpu"),
        (dict(device="cuda:99"), "`device` cuda:99: no such device"),
        (dict(strategy="medium"), "unknown strategy 'medium'"),
    ],
)
def test_bad_input(world, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        draw(world, tmp_path / "set", **change)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(strategy="hart"), "unknown strategy 'hart', did you mean hard"),
        (dict(strategy="mix", strategy_options=dict(ration=0.3)), "unknown option.s. ration; it takes ratio"),
        (
            dict(strategy="per-class", strategy_options=dict(attributes=dict(bal="hard"))),
            "'bal' is not one of.*near matches: ball",
        ),
        (dict(edits=dict(flipp=0.5)), "unknown flipp; known: jitter, drop, flip, swap"),
        (dict(edits=dict(jitter=0.9)), "jitter=0.9: must be a number in"),
        (dict(oversample_thr=2.0), "`oversample_thr` must be in"),
        (
            dict(oversample_thr=0.1, samples_file="x"),
            "`samples_file` and `oversample_thr` exclude each other",
        ),
        (dict(samples_file="nowhere.json"), "nowhere.json"),
        (dict(attributes=None), "no attributes file is given"),
        (dict(checkpoint="nowhere.pth"), "nowhere.pth does not exist"),
        (dict(seed=7), "another run .*seed: 0 there, 7 now"),
        (dict(out="foreign"), "holds 'holiday.txt' .* no run.json"),
        (dict(out="foreign/holiday.txt"), "`out` must be a folder, but this is a file"),
    ],
)
def test_a_bad_command_is_refused_before_the_model_is_built(world, tmp_path, monkeypatch, change, message):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/holiday.txt").write_text("")
    if "seed" in change:
        draw(world, tmp_path / "set", limit=1)
    monkeypatch.setattr(
        "detdiffusion.apis.generation.DetDiffusionInferencer", lambda *_: pytest.fail("built")
    )
    change = dict(change, out=tmp_path / change.get("out", "set"))
    with pytest.raises(UserError, match=message):
        draw(world, **change)


def test_attributes_of_other_files_with_equal_ids(world, tmp_path):
    data = json.loads((world / "attributes.json").read_text())
    data["info"]["annotation_files"] = [dict(path="other.json", sha256="0" * 64)]
    (tmp_path / "other.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="made from other.json, whose content differs from .*instances.json"):
        draw(world, tmp_path / "set", "origin", attributes=str(tmp_path / "other.json"))


def test_checkpoint_of_another_model(world, tmp_path):
    state = torch.load(world / "weights.pth", weights_only=True)["state_dict"]
    state["unet.conv_in.weight"] = torch.zeros(2, 2)
    state["unet.unknown"] = state.pop("unet.conv_in.bias")
    torch.save(dict(state_dict=state), tmp_path / "bad.pth")
    with pytest.raises(UserError, match=r"1 tensors missing.*1 unknown.*unet.unknown.*1 of another shape"):
        draw(world, tmp_path / "set", checkpoint=str(tmp_path / "bad.pth"))


def test_averaged_weights_are_the_ones_used(world, tmp_path):
    """mmengine's EMA hook swaps at saving: ``state_dict`` holds the averages, and drawing reads those."""
    from mmengine.hooks import EMAHook
    from mmengine.model import ExponentialMovingAverage

    model = DetDiffusionInferencer(str(world / "config.py"), world / "weights.pth", device="cpu").model
    hook = EMAHook()
    hook.ema_model = ExponentialMovingAverage(model)
    trained = {k: v + 1 if k == "unet.conv_in.bias" else v for k, v in model.state_dict().items()}
    checkpoint = dict(state_dict=trained)
    hook.before_save_checkpoint(None, checkpoint)
    torch.save(checkpoint, tmp_path / "ema.pth")
    loaded = DetDiffusionInferencer(str(world / "config.py"), tmp_path / "ema.pth", device="cpu").model
    assert torch.equal(loaded.unet.conv_in.bias, model.unet.conv_in.bias)


def test_a_strategy_of_the_users_own(world, tmp_path, repo_root):
    """The one that docs/guides/extending.md shows."""
    text = (repo_root / "docs/guides/extending.md").read_text()
    names: dict = {}
    exec(next(part for part in text.split("```python\n") if "SmallIsHard" in part).split("```")[0], names)
    draw(world, tmp_path / "set", "SmallIsHard", limit=2)
    coco = json.loads((tmp_path / "set/annotations.json").read_text())
    assert {a["attribute"] for a in coco["annotations"]} == {"easy", "hard", "background"}
    data = json.loads((world / "attributes.json").read_text())
    data["attributes"] = {"10000000": "easy"}
    (tmp_path / "foreign.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="foreign.json"):
        draw(world, tmp_path / "other", "SmallIsHard", attributes=str(tmp_path / "foreign.json"))

    class Careless(names["SmallIsHard"]):
        reads_attributes = False
        name = "careless"

        def __init__(self, threshold: float = 0.1):
            super().__init__()

    with pytest.raises(
        UserError, match="strategy 'careless' at the layout of image .*TypeError: .*reads_attributes = True"
    ):
        draw(
            world, tmp_path / "other", dict(type=Careless), attributes=str(tmp_path / "foreign.json"), limit=1
        )
    draw(world, tmp_path / "careless", dict(type=Careless, threshold=0.1), limit=1)
    draw(world, tmp_path / "careless", dict(type=Careless), strategy_options=dict(threshold=0.1), limit=1)
    with pytest.raises(
        UserError, match="another run.*strategy_options: {'threshold': 0.1} there, {'threshold': 0.2}"
    ):
        draw(world, tmp_path / "careless", dict(type=Careless, threshold=0.2), limit=1)


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


def test_attributes_that_no_model_wants(world, tmp_path, capsys):
    write_config(world, "plain.py", attributes=False)
    plain = dict(config=str(world / "plain.py"), checkpoint=None, strategy="origin", limit=1)
    draw(world, tmp_path / "set", **plain)
    assert "attributes.json, only the list of nameable classes is used" in capsys.readouterr().out
    with pytest.raises(UserError, match="nowhere.json: no such attributes file"):
        draw(world, tmp_path / "set", attributes="nowhere.json", **plain)


def test_layouts_of_a_data_set_of_the_users_own(world, tmp_path):
    """Plain layouts in a list are the same run as the library's own set of them."""
    from detdiffusion.datasets import LayoutCocoDataset
    from detdiffusion.registry import DATASETS

    @DATASETS.register_module(force=True)
    class PlainLayouts:
        def __init__(self, **spec):
            one = LayoutCocoDataset(**spec)
            self.layouts, self.categories, self.classes = one.layouts[:], one.categories, one.classes
            self.ann_files = one.ann_files

    draw(world, tmp_path / "set", limit=1)
    plain = ["layout_datasets.train.type=PlainLayouts"]
    assert draw(world, tmp_path / "set", limit=2, cfg_options=plain)["already_there"] == 1


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("3", "model must be a dict"),
        ("dict(type='HalfAnEditor')", "HalfAnEditor cannot.*lacks needs_attributes"),
    ],
)
def test_a_model_that_is_no_editor(world, tmp_path, model, message):
    from detdiffusion.registry import MODELS

    @MODELS.register_module(force=True)
    class HalfAnEditor(torch.nn.Module):
        def infer(self):
            pass

    (tmp_path / "config.py").write_text(f"model = {model}\n")
    with pytest.raises(UserError, match=message):
        draw(world, tmp_path / "set", config=str(tmp_path / "config.py"))


def test_options_of_a_parsed_config(world):
    with pytest.raises(UserError, match="cfg_options require a config's path"):
        DetDiffusionInferencer(load_config(str(world / "config.py")), None, "cpu", ["a=1"])


def test_mask_head_weights_are_ignored(world, tmp_path):
    state = torch.load(world / "weights.pth", weights_only=True)["state_dict"]
    torch.save(dict(state_dict={**state, "mask_head.query": torch.zeros(3)}), tmp_path / "pa.pth")
    DetDiffusionInferencer(str(world / "config.py"), tmp_path / "pa.pth", device="cpu")


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


def test_the_command(world, tmp_path, repo_root):
    """As a user types it: quick help, a run, and an error in one line with status 2."""
    tool = [sys.executable, str(repo_root / "tools/generate.py")]
    help_text = subprocess.run([*tool, "--help"], capture_output=True, text=True, check=True).stdout
    assert "examples:" in help_text and "--samples-per-image" in help_text
    command = [*tool, str(world / "config.py"), str(world / "weights.pth"), "--out", str(tmp_path / "set")]
    command += ["--strategy", "hard", "--attributes", str(world / "attributes.json"), "--device", "cpu"]
    command += ["--batch-size", "2", "--steps", "2", "--limit", "3"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "3 images; now written 3" in run.stdout
    assert "generating: 3/3 images" in run.stderr and "images/s" in run.stderr
    COCO(tmp_path / "set/annotations.json")


def test_the_commands_error_is_one_line(world, tmp_path, repo_root, monkeypatch, capsys):
    (tmp_path / "holiday.txt").write_text("")
    tool = str(repo_root / "tools/generate.py")
    arguments = [
        str(world / "config.py"),
        "none",
        "--out",
        str(tmp_path),
        "--strategy",
        "easy",
        "--limit",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", [tool, *arguments, "--attributes", str(world / "attributes.json")])
    monkeypatch.setattr(
        logging, "raiseExceptions", False
    )  # a logger of an earlier test has pytest's closed stream
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(tool, run_name="__main__")
    error = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert error[-1].startswith("error: ") and "no run.json" in error[-1] and "Traceback" not in str(error)
