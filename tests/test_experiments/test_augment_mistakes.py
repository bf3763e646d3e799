"""Mistakes of a new user on tools/augment.py: one message each, before any step."""

import json
import re
import runpy
import shutil
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import torch
from augment_world import FORMS, ROOT, refused, write_set, write_world, write_yolo_set
from safetensors.numpy import save_file

from detdiffusion.experiments.augment.preflight import check_options, free_mb
from detdiffusion.experiments.augment.run_folder import RunFolder
from detdiffusion.experiments.augment.settings import AugmentOptions
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.steps import StepRunner


@pytest.fixture
def world(tmp_path):
    return write_world(tmp_path)


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
        step.after()
        return converted, StepRunner(ROOT, run.dir).key(step)

    first, again = convert(), convert()
    assert not first[0] and again == (True, first[1])
    next(source.rglob("train3.png")).unlink()
    assert convert()[0] is False and convert() != again


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
    "changes, message",
    [
        (dict(detector_iters=500), "`detector_iters` and `generator_iters`: give both"),
        (dict(generator_iters=500), "`detector_iters` and `generator_iters`: give both"),
        (
            dict(detector_iters=500, generator_iters=20, budget=5),
            "`budget` 5: `detector_iters` and .* replace it",
        ),
        (dict(detector_iters=19, generator_iters=20), "`detector_iters` must be .*at least 20.* 19"),
        (dict(detector_iters=20, generator_iters=19), "`generator_iters` must be .*at least 20.* 19"),
        (dict(parallel=2, rounds=2), "`parallel` 2: .* no `rounds`"),
        (dict(parallel=0), "`parallel` must be .*at least 1.* 0"),
    ],
)
def test_sizes_and_steps_at_the_same_time(world, changes, message):
    refused(world, message, **changes)


def test_steps_at_the_same_time_of_a_budget(world):
    vae = [str(world / f"taesd_{part}.safetensors") for part in ("encoder", "decoder")]
    options = AugmentOptions(train=str(world / "train.json"), out=str(world / "out"), vae=vae, parallel=2)
    with pytest.raises(UserError, match="cannot be timed .* give `detector_iters` and `generator_iters`"):
        check_options(options, world / "out")
    check_options(replace(options, detector_iters=500, generator_iters=1000), world / "out")
