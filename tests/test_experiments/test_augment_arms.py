"""The arms of tools/augment.py: names, configs on images of different sizes without masks, and the words about them."""

import json
import random
import re
import statistics
from pathlib import Path

import numpy as np
import pytest
from augment_world import ROOT
from mmengine.registry import init_default_scope
from PIL import Image
from scipy import stats

from detdiffusion.datasets.transforms.copy_paste import CopyPaste
from detdiffusion.experiments.augment.arm_configs import arm_config
from detdiffusion.experiments.augment.arms import ARMS, DEFAULT_ARMS, REAL, Arm, arms_of
from detdiffusion.experiments.augment.pipeline import steps
from detdiffusion.experiments.augment.preflight import check_options
from detdiffusion.experiments.augment.run_folder import RunFolder
from detdiffusion.experiments.augment.settings import AugmentOptions
from detdiffusion.experiments.augment.verdict import judge
from detdiffusion.experiments.low_data import arms as low_data
from detdiffusion.utils import compat
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError

compat.setup()
THREE = ("edited", "copy-paste", "edited-copy-paste")
ENDS = ("mixed", "copy-paste", "mixed_copy-paste")
SIZES = ((128, 96), (96, 128), (96, 96))  # none is resized
DETECTOR = """
_base_ = [
    "detdiffusion::_base_/models/atss_small.py",
    "detdiffusion::_base_/datasets/own_detection.py",
    "detdiffusion::_base_/schedules/miniscenes_detection.py",
]
train_ann = {ann!r}
train_images = {images!r}
metainfo = dict(classes=("cat", "dog"))
image_scale = (128, 96)
batch_size = 4
max_iters = 10
"""


def write_boxes(root, name, colour, count=6, first=1):
    """Images of three sizes in one colour with two boxes each, no masks."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    coco = dict(images=[], annotations=[], categories=[dict(id=1, name="cat"), dict(id=2, name="dog")])
    for key in range(first, first + count):
        width, height = SIZES[key % 3]
        pixels = np.full((height, width, 3), colour, np.uint8)
        for k, (x, y) in enumerate(((3, 5), (width - 25, height - 25))):
            pixels[y : y + 20, x : x + 20] = 250
            box = dict(bbox=[x, y, 20, 20], area=400, iscrowd=0)
            coco["annotations"].append(dict(id=2 * key + k, image_id=key, category_id=k + 1, **box))
        Image.fromarray(pixels).save(root / f"images/{key}.png")
        coco["images"].append(dict(id=key, file_name=f"{key}.png", width=width, height=height))
    (root / name).write_text(json.dumps(coco))


@pytest.fixture
def configs(tmp_path):
    """A function that returns the config of an arm, on real images in one colour and generated ones in another."""
    write_boxes(tmp_path / "real", "train.json", 60)
    write_boxes(tmp_path / "set", "annotations_gated.json", 120)
    (tmp_path / "detector.py").write_text(
        DETECTOR.format(ann=str(tmp_path / "real/train.json"), images=str(tmp_path / "real/images") + "/")
    )

    def config(arm, masks=False):
        path = tmp_path / f"{arm.config}.py"
        path.write_text(arm_config(arm, tmp_path / "set", masks))
        return load_config(str(path), [f"synthetic_root={tmp_path / 'set'}"] if arm.generated else [])

    return config


def test_names():
    assert set(DEFAULT_ARMS) < set(ARMS) and len(set(ARMS)) == len(ARMS)
    arms = arms_of(["edited", "copy-paste", "edited-copy-paste", "edited"], [1, 2])
    assert [(a.name, a.generated, a.copy_paste) for a in arms] == [
        ("edited", "edited", False),
        ("copy-paste", None, True),
        ("edited-copy-paste", "edited", True),
        ("edited-2", "edited-2", False),
        ("edited-copy-paste-2", "edited-2", True),
    ]
    assert [a.advice for a in arms[:3]] == [
        "the edited set",
        "copy-paste",
        "the edited set and copy-paste",
    ]
    assert {a.config for a in arms} == {
        "detector_mixed",
        "detector_copy-paste",
        "detector_mixed_copy-paste",
    }
    assert Arm(REAL).config == "detector" and Arm(REAL).title == "real"


@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
@pytest.mark.parametrize("arm", arms_of(THREE, [1]), ids=lambda arm: arm.name)
def test_data_of_an_arm(arm, masks, configs):
    """Half of a training's images are generated, all of its first batch and none of its last, and never pasted into.
    Real ones have pasted objects. Masks that are missing are the boxes."""
    from mmdet.registry import DATA_SAMPLERS, DATASETS
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    config = configs(arm, masks)
    init_default_scope("mmdet")
    dataset = DATASETS.build(config.train_dataloader.dataset)
    sampler = DATA_SAMPLERS.build(config.train_dataloader.sampler, default_args=dict(dataset=dataset))
    random.seed(0)
    np.random.seed(0)
    drawn = iter(sampler)
    generated, pasted = [], 0
    for _ in range(40):
        sample = dataset[next(drawn)]
        image, objects = sample["inputs"].numpy(), sample["data_samples"].gt_instances
        ground = int(np.bincount(image.ravel()).argmax()) if (image != 0).any() else 0
        generated.append(ground == 120)
        assert ground in (60, 120)
        bright = (image > 200).all(axis=0)
        covered = np.zeros_like(bright)
        for left, top, right, bottom in objects.bboxes.tensor.round().int().tolist():
            assert bright[top + 2 : bottom - 2, left + 2 : right - 2].all()  # each box holds its object
            covered[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2] = True
        assert covered[bright].all()  # no object without a box
        pasted += len(objects) > 2
        assert ground == 60 or len(objects) == 2
    shares = np.reshape(generated, (10, 4)).sum(axis=1)
    assert abs(np.cumsum(shares) - (np.cumsum(4 - 0.4 * np.arange(10)) if arm.generated else 0)).max() <= 0.5
    assert (shares[0], shares[-1]) == ((4, 0) if arm.generated else (0, 0))
    assert (pasted > 0) == arm.copy_paste


def test_options(tmp_path):
    """Arms without generated images alone, a second round without a set of single images, a pipeline without boxes."""
    for name in ("train", "val"):
        write_boxes(tmp_path, f"{name}.json", 60)
    write_boxes(tmp_path / "vae", "x.json", 0, count=0)
    (tmp_path / "vae/config.json").write_text('{"_class_name": "AutoencoderTiny"}')
    options = dict(
        train=str(tmp_path / "train.json"),
        val=str(tmp_path / "val.json"),
        out=str(tmp_path / "out"),
        vae=[str(tmp_path / "vae")],
        smoke=True,
    )

    def refused(message, **changes):
        with pytest.raises(UserError, match=message):
            check_options(AugmentOptions(**options, **changes), tmp_path / "out")

    refused("`arms` copy-paste: none of them has generated images", arms=["copy-paste"])
    refused(r"`rounds` 2: .*`arms` recompose has none; add edited or hard", arms=["recompose"], rounds=2)
    with pytest.raises(UserError, match="`arms` must be a list, it is 'edited'"):
        AugmentOptions(**options, arms="edited")
    with pytest.raises(UserError, match="`arms` must be one of hard, .*, it is 'edit'"):
        AugmentOptions(**options, arms=["edited", "edit"])
    learner = tmp_path / "learner.py"
    learner.write_text(
        DETECTOR.format(ann="a", images="b")
        + "train_dataloader = dict(dataset=dict(pipeline=[*_base_.train_pipeline, dict(type='Other')]))\n"
    )
    refused(
        "copy-paste needs a pipeline with LoadAnnotations that ends in PackDetInputs", learner=str(learner)
    )
    check_options(AugmentOptions(**options, arms=["edited"], learner=str(learner)), tmp_path / "out")


def test_the_sentence_says_what_copy_paste_alone_gives():
    """Paired over the seeds, at a level that holds for both arms with generated images; at 95 % where val chose."""
    arms = {arm.name: arm for arm in arms_of(THREE, [1])}
    none = {"sets": {"real": {"by_class": {}}}}
    differences = {
        "edited": [2.0, 2.2, 1.9],
        "copy-paste": [1.0, 1.4, 0.8],
        "edited-copy-paste": [4.0, 4.1, 4.3],
    }
    verdict = judge(differences, none, arms)
    gain = np.subtract(differences["edited-copy-paste"], differences["copy-paste"])
    low, high = stats.t.interval(0.975, 2, statistics.fmean(gain), stats.sem(gain))
    assert (verdict.over_copy_paste.low, verdict.over_copy_paste.high) == pytest.approx((low, high))
    assert "use the edited set and copy-paste; over copy-paste alone +3.1 AP [" in verdict.sentence
    worse = {**differences, "copy-paste": [5.0, 5.1, 5.2]}
    verdict = judge(worse, none, arms)
    assert "use copy-paste; the edited set and copy-paste over copy-paste alone −1.0 AP [" in verdict.sentence
    tuning = {"edited": [1.0], "copy-paste": [2.0], "edited-copy-paste": [1.5]}
    verdict = judge(differences, none, arms, tuning)
    low, high = stats.t.interval(0.95, 2, statistics.fmean(gain), stats.sem(gain))
    assert (verdict.over_copy_paste.low, verdict.over_copy_paste.high) == pytest.approx((low, high))
    assert re.search(
        r"use copy-paste; the edited set and copy-paste over copy-paste alone \+3.1 AP \[.*\] \(of edited, copy-paste, "
        r"edited-copy-paste, val chose copy-paste\)$",
        verdict.sentence,
    )
    assert judge({"edited": [1.0, 2.0, 1.5]}, none, arms).over_copy_paste is None


def test_every_config_that_a_run_uses_is_written(tmp_path):
    """Those of halves in later rounds and of timed iterations too; masks only where all can be read."""
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/config.json").write_text('{"_class_name": "AutoencoderTiny"}')
    for name in ("train", "val"):
        write_boxes(tmp_path, f"{name}.json", 60)
    options = AugmentOptions(
        train=str(tmp_path / "train.json"),
        val=str(tmp_path / "val.json"),
        out=str(tmp_path / "out"),
        vae=[str(tmp_path / "vae")],
        arms=["copy-paste", "edited-copy-paste"],
        rounds=2,
    )

    def written():
        run = RunFolder(ROOT, options)
        run.splits, _ = run.sources.splits()
        run.derive()
        run.write_detectors()
        names = {path.stem for path in run.configs.folder.glob("*.py")}
        words = [word for step in steps(RunFolder(ROOT, options, dry=True)) for word in step.command]
        used = {Path(word).stem for word in words if word.startswith(str(run.configs.folder))}
        assert used - {"generator"} == names == {"detector", *(f"detector_{end}" for end in ENDS)}
        assert run.pasted == 1 + 2 * 0.5 and run._work().pasted == 3 * 2.0
        return "with_mask=True" in Path(run.config("detector_copy-paste")).read_text()

    assert not written()
    coco = json.loads((tmp_path / "train.json").read_text())
    for annotation in coco["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h]]
    (tmp_path / "train.json").write_text(json.dumps(coco))
    assert written()
    coco["annotations"][3]["segmentation"] = "polygon"
    (tmp_path / "train.json").write_text(json.dumps(coco))
    assert not written()


def test_arms_of_the_low_data_benchmark_share_the_gate_of_a_set():
    rules = {}
    for arm in low_data.ARMS.values():
        if arm.gate:
            assert rules.setdefault(arm.generated, arm.gate) == arm.gate


def test_ignored_regions_are_not_pasted():
    from mmdet.structures.bbox import HorizontalBoxes

    def sample(grey, ignored):
        boxes = HorizontalBoxes(np.array([[2, 2, 12, 12], [20, 20, 30, 30]], np.float32))
        flags = np.array([False, ignored])
        image = np.full((40, 40, 3), grey, np.uint8)
        return dict(img=image, gt_bboxes=boxes, gt_bboxes_labels=np.arange(2), gt_ignore_flags=flags)

    np.random.seed(0)
    paste = CopyPaste(paste_by_box=True, bbox_occluded_thr=0, mask_occluded_thr=0)
    pasted = []
    for _ in range(20):
        found = paste.transform({**sample(10, False), "mix_results": [sample(200, True)]})
        pasted.append((found["img"][2:12, 2:12] == 200).all())
        assert (found["img"][20:30, 20:30] == 10).all() and not found["gt_ignore_flags"].any()
        assert len(found["gt_bboxes"]) == 2  # what is pasted covers the other one
    assert any(pasted) and not all(pasted)
