"""What tools/augment.py derives from the labels and writes as configs, and the order of its steps."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from augment_world import ROOT, refused, write_set, write_world

from detdiffusion.experiments.augment.arms import DEFAULT_ARMS
from detdiffusion.experiments.augment.pipeline import steps
from detdiffusion.experiments.augment.rates import speed_digest
from detdiffusion.experiments.augment.run_folder import RunFolder
from detdiffusion.experiments.augment.settings import AugmentOptions
from detdiffusion.experiments.augment.write_configs import generator_config
from detdiffusion.models.editors.detdiffusion.layout_config import layout_of_config
from detdiffusion.utils.config import load_config


@pytest.fixture
def world(tmp_path):
    return write_world(tmp_path)


def stale_rates_are_timed_again(run):
    """Stored seconds hold while the config stays the same but for its lengths."""
    log = run.dir / "calibration/20261101_000000/vis_data/scalars.json"
    log.parent.mkdir(parents=True)
    log.write_text('{"loss": 1.0, "time": 0.5, "iter": 2, "step": 2}\n')
    path = Path(run.config("detector"))
    before, iters = speed_digest(path), run.schedule.detector_iters
    run.rates.store("detector", run.dir / "calibration", before)
    run.write_detectors()
    assert run.schedule.detector_iters != iters and speed_digest(path) == before
    log.write_text('{"loss": 1.0, "time": 0.25, "iter": 2, "step": 2}\n')
    run.rates.store("detector", run.dir / "calibration", before)
    assert json.loads((run.dir / "rates.json").read_text())["detector"]["seconds"] == 0.5
    path.write_text(re.sub(r"batch_size = \d+", "batch_size = 3", path.read_text()))
    assert speed_digest(path) != before
    run.rates.store("detector", run.dir / "calibration", speed_digest(path))
    assert json.loads((run.dir / "rates.json").read_text())["detector"]["seconds"] == 0.25


def given_iterations_replace_the_budget(run):
    before = run.options
    for iters, advice in ((499, "--detector-iters 500 gives as many"), (500, None)):
        run.options = replace(before, budget=None, detector_iters=iters, generator_iters=70)
        run.write_detectors()
        assert run.iters(run.config("detector")) == iters and run.schedule.generator_iters == 70
        assert run.schedule_line().startswith(f"{iters} iterations of each detector, 70 of the generator, ")
        assert "minutes" not in run.schedule_line()
        found = run.few_iters()
        assert found is None if advice is None else found.endswith(advice)
    run.options = before
    run.write_detectors()


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
    few = run.facts
    for images, enough in ((50, 500), (5000, math.ceil(5000 * 20 / run.plan.batch))):
        run.facts, budget = replace(few, images={**few.images, "train": images}), run.options.budget
        run.options = replace(run.options, budget=10)
        run.write_detectors()
        ((iters, least, minutes),) = re.findall(
            r"for (\d+) iterations; with fewer than (\d+) .*--budget (\d+) gives", run.few_iters()
        )
        assert int(iters) == run.iters(run.config("detector")) < int(least) == enough
        run.options = replace(run.options, budget=int(minutes))
        run.write_detectors()
        assert run.few_iters() is None
        run.options = replace(run.options, budget=int(minutes) - 10)
        run.write_detectors()
        assert run.few_iters() is not None
        run.options = replace(run.options, budget=budget)
    run.facts = few
    given_iterations_replace_the_budget(run)
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


@pytest.mark.parametrize(
    "learner",
    [
        "atss",
        "fcos",
        "faster-rcnn",
        "mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
        "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
    ],
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
        arms=["edited"],
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
        stages = {"atss": 1, "faster-rcnn": 2}.get(
            learner, 0 if "fcos" in learner else 4
        )  # a cascade's in a list
        assert text.count("'type': 'detdiffusion.FCOSHead'") == ("fcos" in learner)
        assert len(re.findall("'type': 'detdiffusion.(ATSS|MaxIoU)Assigner'", text)) == stages
        assert text.count("'ignore_iof_thr': 0.5") == stages - (learner == "atss")  # the default there
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


@pytest.mark.parametrize("weights, compares", [("w.pth", True), ("w.onnx", False)])
def test_near_copies_by_the_features_of_a_detector_that_has_some(world, weights, compares):
    data = dict(train=str(world / "train.json"), out=str(world / "out"), vae=["encoder", "decoder"])
    options = AugmentOptions(**data, detector=("c.py", weights))
    found = [
        step for step in steps(RunFolder(ROOT, options, dry=True)) if step.name.startswith("near-copies")
    ]
    assert [step.name for step in found] == ["near-copies-edited", "near-copies-sample"]
    for step in found:
        assert ("--detector" in step.command) == (weights in map(str, step.command)) == compares
        assert "manifest.jsonl" in {path.name for path in step.inputs}


@pytest.mark.parametrize("options, missed", [({}, "keep"), (dict(missed="ignore"), "ignore")])
def test_what_the_detector_misses_is_kept_unless_asked(world, options, missed):
    data = dict(train=str(world / "train.json"), out=str(world / "out"), vae=["encoder", "decoder"])
    run = RunFolder(ROOT, AugmentOptions(**data, **options), dry=True)
    gates = [step.command for step in steps(run) if step.name.startswith("gate-")]
    assert len(gates) == 2
    assert all(command[command.index("--missed") + 1] == missed for command in gates)
