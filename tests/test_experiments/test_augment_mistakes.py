"""Mistakes of a new user on tools/augment.py: one message each, before any step."""

import json
import re
import runpy
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file

from detdiffusion.datasets.formats.exports import read_for_export, write_yolo
from detdiffusion.experiments.augment.arms import DEFAULT_ARMS
from detdiffusion.experiments.augment.pipeline import steps
from detdiffusion.experiments.augment.preflight import free_mb
from detdiffusion.experiments.augment.run_folder import RunFolder
from detdiffusion.experiments.augment.settings import AugmentOptions
from detdiffusion.experiments.augment.write_configs import generator_config
from detdiffusion.models.editors.detdiffusion.layout_config import layout_of_config
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.steps import StepRunner

ROOT = Path(__file__).resolve().parents[2]
VOC_BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
TOOL = runpy.run_path(str(ROOT / "tools/augment.py"))


def write_set(root, split="train", images=6, names=("cat", "dog"), size=30, **changes):
    """Noise with two boxes an image."""
    rng = np.random.default_rng(len(split))  # splits share no image
    (root / "images").mkdir(parents=True, exist_ok=True)
    coco = dict(images=[], annotations=[], categories=[dict(id=k, name=n) for k, n in enumerate(names, 1)])
    for key in range(1, images + 1):
        pixels = rng.integers(0, 255, (96, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"images/{split}{key}.png")
        coco["images"].append(dict(id=key, file_name=f"{split}{key}.png", width=128, height=96))
        for k in range(2):
            box = dict(bbox=[5 + 40 * k, 10, size, size], area=size * size, iscrowd=0)
            category = (key + k) % len(names) + 1
            coco["annotations"].append(dict(id=2 * key + k, image_id=key, category_id=category, **box))
    coco.update(changes)
    (root / f"{split}.json").write_text(json.dumps(coco))
    return root / f"{split}.json"


def write_yolo_set(root, split="train", **changes):
    """The same as a YOLO set."""
    export = read_for_export([f"{split}={write_set(root, split, **changes)}"], crowds=False)
    return write_yolo(export, root / f"yolo_{split}").parent


def write_voc_set(root, split="train", **changes):
    """The same as a Pascal VOC set."""
    coco = json.loads(write_set(root, split, **changes).read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    out = root / f"voc_{split}"
    for folder in ("Annotations", "JPEGImages"):
        (out / folder).mkdir(parents=True)
    for image in coco["images"]:
        rows = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        objects = "".join(voc_object(names[row["category_id"]], *row["bbox"]) for row in rows)
        name = image["file_name"]
        (out / f"Annotations/{Path(name).stem}.xml").write_text(
            f"<annotation><filename>{name}</filename><size><width>{image['width']}</width>"
            f"<height>{image['height']}</height></size>{objects}</annotation>"
        )
        shutil.copy(root / "images" / name, out / "JPEGImages")
    return out


def voc_object(name, x, y, width, height):
    return f"<object><name>{name}</name>{VOC_BOX.format(x, y, x + width, y + height)}</object>"


FORMS = dict(voc=write_voc_set, yolo=write_yolo_set)


@pytest.fixture
def world(tmp_path):
    write_set(tmp_path)
    write_set(tmp_path, "val")
    for part in ("encoder", "decoder"):
        save_file({"0.weight": np.zeros(1, np.float32)}, tmp_path / f"taesd_{part}.safetensors")
    return tmp_path


def augment(world, **changes):
    values = dict(
        train=world / "train.json",
        val=world / "val.json",
        out=world / "out",
        vae=[world / "taesd_encoder.safetensors", world / "taesd_decoder.safetensors"],
    )
    words = []
    for name, value in {**values, **changes}.items():
        if value is not None:
            given = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, given)]
    TOOL["main"](TOOL["build_parser"]().parse_args([*words, "--smoke"]))


def refused(world, message, **changes):
    with pytest.raises(UserError, match=message):
        augment(world, **changes)
    assert not (world / "out/sources").exists() and not (world / "out/stamps").exists()


def test_wrong_path(world):
    refused(
        world,
        r"`train` .*trian.json: no such file or folder; near matches: train.json",
        train=world / "trian.json",
    )
    refused(world, r"no labels of a known form", train=world / "images")
    refused(world, r"`base` .*: no such file", vae=None, base=world / "sd15")


def test_misspelt_class(world):
    refused(world, r"`classes`: .* no object of 'dgo'; near matches: dog", classes=["cat", "dgo"])


def test_classes_that_differ_between_splits(world):
    write_set(world, "val", names=("cat", "dogs"))
    refused(world, r"`val` .* has objects of 'dogs', which `train` .* does not know; near matches: dog")
    write_set(world, "val", names=("dog", "cat"))
    refused(world, r"`val` .* has the categories in another order")


def test_split_without_labels(world):
    write_set(world, "val", annotations=[])
    refused(world, r"`val` .*: no labels: its 6 images have no object of cat, dog")


def test_images_are_missing(world):
    (world / "images/val3.png").unlink()
    refused(world, r"`val` .*: 1 of its 6 images are not in .*images: val3.png")


def test_filter_that_leaves_little(world):
    write_set(world, size=10)
    refused(
        world,
        r"the filter keeps only 0 of 12 objects .*`min_area_ratio` 0.02 removes 12",
        min_area_ratio=0.02,
    )


@pytest.mark.parametrize("form", FORMS)
def test_mistakes_in_labels_of_other_forms_are_found_before_the_conversion(world, form):
    write = FORMS[form]
    right = dict(train=write(world / "right"), val=write(world / "right", "val"))
    refused(
        world, r"`classes`: .*right.* has no object of 'dgo'; near matches: dog", **right, classes=["dgo"]
    )
    refused(world, r"keeps only 0 of 12 objects .*`min_area_ratio` 0.2", **right, min_area_ratio=0.2)
    other = write(world / "other", "val", names=("cat", "dogs"))
    refused(world, rf"`val` {other} has objects of 'dogs', which `train`", **{**right, "val": other})
    empty = write(world / "empty", "val", annotations=[])
    refused(world, rf"`val` {empty}: no labels: its 6 images have no objects", **{**right, "val": empty})
    one = write(world / "one", images=1)
    refused(world, rf"`train` {one}: 1 of its 1 images have objects", **{**right, "train": one})


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_image_of_other_forms_is_counted(world, form, capsys):
    source = FORMS[form](world / "right")
    next(source.rglob("train3.png")).unlink()
    refused(world, "`min_area_ratio` 0.2 removes", train=source, val=world / "val.json", min_area_ratio=0.2)
    assert re.search(
        r"^warning: .*train3\.(xml|txt): .* without an image", capsys.readouterr().out, re.MULTILINE
    )
    for path in source.rglob("*.png"):
        path.unlink()
    refused(world, "none of its images is there|no images found in", train=source, val=world / "val.json")


def test_a_source_that_was_mended_is_converted_again(world):
    source = write_yolo_set(world / "right")
    options = AugmentOptions(
        train=str(source), val=str(world / "val.json"), out=str(world / "out"), vae=["vae"]
    )

    def convert():
        run = RunFolder(ROOT, options)
        converted, step = run.sources.is_converted(), next(run.sources.steps())
        annotations = world / "out/sources/train/annotations/train.json"
        annotations.parent.mkdir(parents=True, exist_ok=True)
        annotations.write_text("{}")
        return converted, StepRunner(ROOT, run.dir)._key(step)

    first, again = convert(), convert()
    assert not first[0] and again == (True, first[1])
    next(source.rglob("train3.png")).unlink()
    assert convert()[0] is False and convert() != again


def stale_rates_are_timed_again(run):
    """Stored seconds hold while the config stays the same but for its lengths."""
    log = run.dir / "calibration/20261101_000000/vis_data/scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 1.0, "time": 0.5, "iter": 2, "step": 2}\n')
    before, iters = run.speed_digest("detector"), run.schedule.detector_iters
    run.store_rate("detector", run.dir / "calibration", before)
    run.write_detectors()
    assert run.schedule.detector_iters != iters and run.speed_digest("detector") == before
    log.write_text('{"loss": 1.0, "time": 0.25, "iter": 2, "step": 2}\n')
    run.store_rate("detector", run.dir / "calibration", before)
    assert json.loads((run.dir / "rates.json").read_text())["detector"]["seconds"] == 0.5
    path = Path(run.config("detector"))
    path.write_text(re.sub(r"batch_size = \d+", "batch_size = 3", path.read_text()))
    assert run.speed_digest("detector") != before
    run.store_rate("detector", run.dir / "calibration", run.speed_digest("detector"))
    assert json.loads((run.dir / "rates.json").read_text())["detector"]["seconds"] == 0.25


@pytest.mark.parametrize("learner", ["atss", "faster-rcnn"])
def test_full_images(world, learner):
    """Each rule is counted by itself, and detectors and mask head have room for all objects."""
    boxes = [dict(bbox=[x, y, 6, 6], area=36, iscrowd=0) for x in range(0, 120, 10) for y in range(0, 90, 10)]
    rows = [
        dict(id=9 + k, image_id=1 + k % 6, category_id=1 + k % 2, **box) for k, box in enumerate(boxes * 6)
    ]
    write_set(world, annotations=rows)
    refused(world, r"keeps only 0 of 648 objects \(0.0%\): `max_objects` 60 removes 648;", min_area_ratio=0)
    options = AugmentOptions(
        train=str(world / "train.json"),
        val=str(world / "val.json"),
        out=str(world / "out"),
        vae=["vae"],
        min_area_ratio=0,
        max_objects=200,
        learner=learner,
    )
    run = RunFolder(ROOT, options)
    run.splits, _ = run.sources.splits()
    run.derive()
    assert run.plan.most_objects == 200 and run.plan.fullest == 108
    run.write_detectors()
    few, facts = run.facts, replace(run.facts, images={**run.facts.images, "train": 5000})
    assert run.few_passes() is None
    run.facts = facts
    run.write_detectors()
    warning = run.few_passes()
    passes, minutes = (
        int(n) for n in re.findall(r"them (\d+) times.*--budget (\d+) gives 20 times", warning)[0]
    )
    iters, images = run.iters(run.config("detector")), run.facts.images["train"]
    assert passes == round(iters * run.plan.batch / images) < 20
    run.options = replace(run.options, budget=minutes)
    run.write_detectors()
    assert run.few_passes() is None
    run.facts = few
    stale_rates_are_timed_again(run)
    cfg = load_config(run.config("detector")).model.test_cfg
    assert cfg.get("rcnn", cfg).max_per_img == 216 and cfg.get("rpn", cfg).nms_pre == 864
    parts = dict(
        vae_folder="vae", vae_type="AutoencoderTiny", scaling_factor=1.0, tokenizer_folder="t", vocab_size=600
    )
    (world / "generator.py").write_text(
        generator_config(run.plan, run.schedule, run.splits, world / "attributes.json", parts, world)
    )
    model = load_config(str(world / "generator.py")).model
    assert model.mask_head.num_queries == 200 and model.layout_tokenizer.max_length == run.plan.max_length
    prompts, blueprint = layout_of_config({**model, "tokenizer": None})
    assert prompts["template"] == "caption" and blueprint.attributes


def test_weights_of_another_model(world, shared_dir):
    save_file({"conv_in.weight": np.zeros(1, np.float32)}, world / "other.safetensors")
    refused(
        world,
        r"other.safetensors: not a file of TAESD.*'conv_in.weight'",
        vae=[world / "other.safetensors"] * 2,
    )
    (world / "torn.safetensors").write_bytes(b"\0" * 100)
    refused(world, r"torn.safetensors: not a safetensors file", vae=[world / "torn.safetensors"] * 2)
    (world / "some.onnx").write_bytes(b"")
    config = ROOT / "configs/detectors/atss_miniscenes.py"
    refused(
        world, r"weights of this kind need a config of configs/onnx", detector=[config, world / "some.onnx"]
    )
    refused(world, r"`learner` must be .*did you mean atss", learner="ats")
    torch.save(dict(state_dict={"other.weight": torch.zeros(1)}, meta={}), world / "other.pth")
    refused(world, r"other.pth", detector=[config, world / "other.pth"])


def test_base_of_another_family(world):
    (world / "sdxl/unet").mkdir(parents=True)
    config = dict(cross_attention_dim=2048, addition_embed_type="text_time")
    (world / "sdxl/unet/config.json").write_text(json.dumps(config))
    refused(world, r"not of the family Stable Diffusion 1.x, .*width 2048 and", vae=None, base=world / "sdxl")
    name = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
    save_file({name: np.zeros((320, 1024), np.float16)}, world / "sd21.safetensors")
    refused(
        world, r"sd21.safetensors: not of the family .*width 1024", vae=None, base=world / "sd21.safetensors"
    )


def test_learner_with_wrapped_data(world):
    inner = "train_dataloader = dict(dataset=dict(type='RepeatDataset', dataset=dict(type='CocoDataset')))\n"
    (world / "wrapped.py").write_text(inner)
    refused(world, r"train_dataloader wraps a data set \(RepeatDataset\)", learner=world / "wrapped.py")
    (world / "other.py").write_text("model = dict(type='ATSS')\n")
    refused(world, r"no train_dataloader.dataset.pipeline", learner=world / "other.py")


def test_no_autoencoder(world):
    refused(world, r"`base` none needs an autoencoder by `vae`: .*hub://madebyollin/taesd", vae=None)


def test_gpu_that_is_not_there(world):
    if torch.cuda.is_available():
        pytest.skip("it is there")
    refused(world, r"`device` cuda: no such device; this machine has cpu", device="cuda")


def test_full_disk(world, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 5 * 10**6))
    refused(world, r"`out` .*: the disk has 5 MB free, and a run needs about 100")


def test_out_of_another_set(world):
    (world / "out").mkdir()
    (world / "out/.augment").touch()
    (world / "out/sources.json").write_text(json.dumps(dict(train="/data/other.json")))
    refused(world, r"`out` .* is a run on /data/other.json, not on .*train.json")
    (world / "out/.augment").unlink()
    (world / "out/sources.json").unlink()
    (world / "out/thesis.txt").touch()
    refused(world, "was not created by this tool; choose another --out")


def test_shared_images_of_any_files_are_found(world):
    """The splits are checked by their roles, whatever the names of the files."""
    write_set(world, "first")
    write_set(world, "second")
    shutil.copy(world / "images/first1.png", world / "images/second1.png")
    options = AugmentOptions(
        train=str(world / "first.json"), val=str(world / "second.json"), out=str(world / "out"), vae=["vae"]
    )
    sources = RunFolder(ROOT, options).sources
    tool, *words = sources.check(sources.splits()[0], ["dog"]).command
    check = runpy.run_path(str(ROOT / tool))
    assert check["main"](check["build_parser"]().parse_args(words)) == 1
    checked = json.loads((sources.checked / "check.json").read_text())
    assert list(checked["splits"]) == ["train", "val"] and list(checked["splits"]["val"]["classes"]) == [
        "dog"
    ]
    assert "first1.png = second1.png" in str(checked["findings"])
    assert all(isinstance(line, str) for line in sources.warnings())


def test_disk_for_a_generator_of_each_round():
    options = dict(train="train", out="out")
    for base in (dict(vae=["vae"]), dict(base="sd")):
        one, three = (free_mb(AugmentOptions(**options, **base, rounds=rounds)) for rounds in (1, 3))
        assert three > one >= 2000


def test_rounds_of_a_given_detector(world):
    refused(
        world, r"`rounds` 2: a given detector judges the same in every round", rounds=2, detector=["a", "b"]
    )


def test_val_chooses_the_set_only_where_there_are_test_images(world):
    options = dict(
        train=str(world / "train.json"), val=str(world / "val.json"), out=str(world / "out"), base="sd"
    )
    with_test = AugmentOptions(**options, test=str(write_set(world, "test")))
    names = [
        [step.name for step in steps(RunFolder(ROOT, o, dry=True))]
        for o in (AugmentOptions(**options), with_test)
    ]
    tuned = [f"tune-{name}-{seed}" for name in DEFAULT_ARMS for seed in range(3)]
    assert names[1] == [*names[0][:-1], *tuned, "compare"]


def test_own_splits_of_a_set_hold_for_the_roles_that_are_not_named(world):
    for split in ("train", "val", "test"):
        write_set(world / "set", split, images=4)
        target = world / f"out/sources/train/annotations/{split}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(world / f"set/{split}.json", target)
    options = AugmentOptions(
        train=str(world / "set"), val=str(world / "val.json"), out=str(world / "out"), vae=["vae"]
    )
    splits, cut = RunFolder(ROOT, options).sources.splits()
    files = {role: split.annotations[0] for role, split in splits.items()}
    own = world / "out/sources/train/annotations"
    assert not cut and files == dict(train=own / "train.json", val=world / "val.json", test=own / "test.json")
    for name in ("train", "test"):
        (own / f"{name}.json").unlink()
    options = AugmentOptions(train=str(world / "set"), out=str(world / "out"), vae=["vae"])
    splits, cut = RunFolder(ROOT, options).sources.splits()
    assert cut and list(splits) == ["train"]  # val alone: it is cut


def test_one_image(world):
    write_set(world, images=1)
    refused(world, r"`train` .*: 1 of its 1 images have objects; at least 4 are needed")


@pytest.mark.parametrize(
    "learner", ["atss", "fcos", "faster-rcnn", "mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py"]
)
def test_one_class_is_fine(world, learner):
    """Its configs have one class, whatever the learner."""
    options = AugmentOptions(
        train=str(world / "train.json"),
        val=str(world / "val.json"),
        out=str(world / "out"),
        classes=["dog"],
        base=str(world),
        learner=learner,
        smoke=True,
    )
    run = RunFolder(ROOT, options)
    run.splits, cut = run.sources.splits()
    run.derive()
    run.write_detectors()
    assert not cut and run.plan.classes == ("dog",)
    for name in ("detector", "detector_mixed"):
        config = load_config(run.config(name), ["max_iters=7", "train_ann=/other.json"])
        text = config.model.pretty_text if hasattr(config.model, "pretty_text") else str(config.model)
        assert "'num_classes': 1" in text and not [n for n in ("80", "8}") if f"'num_classes': {n}" in text]
        stages = {"atss": 1, "fcos": 0, "faster-rcnn": 2}.get(learner, 4)  # a cascade's are in a list
        assert text.count("detdiffusion.IgnoredRegionsAssigner") == stages and "_delete_" not in text
        dataset = config.train_dataloader.dataset
        assert dataset.ann_file == "/other.json" and tuple(dataset.metainfo.classes) == ("dog",)
        assert (
            config.train_cfg.max_iters == config.train_cfg.val_interval == config.param_scheduler[-1].end == 7
        )
        assert config.val_evaluator.ann_file == str(world / "val.json")
    assert config.train_dataloader.dataset.type == "detdiffusion.SyntheticAugmentedCocoDataset"


def test_generator_of_stable_diffusion(world):
    options = AugmentOptions(
        train=str(world / "train.json"),
        val=str(world / "val.json"),
        out=str(world / "out"),
        base="models/sd15",
    )
    run = RunFolder(ROOT, options)
    run.splits, _ = run.sources.splits()
    run.derive()
    run.write_generator()
    config = load_config(run.config("generator"))
    assert config.model.unet.from_pretrained == "models/sd15" and not config.custom_hooks
    height, width = run.plan.image_size
    assert height % 64 == width % 64 == 0 and config.model.unet.sample_size == [height // 8, width // 8]
    assert config.model.layout_tokenizer.bins == (height // 4, width // 4)
    assert config.model.get("layout_condition", "tokens") == "tokens"  # the paper's
    assert config.layout_datasets.val.ann_files == [str(world / "val.json")]
