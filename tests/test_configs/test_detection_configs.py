"""Every shipped detector config parses and builds; MiniScenes ones train a step; bad data is one error."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from detdiffusion.utils import compat
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError

compat.setup()
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
DETECTORS = ("faster-rcnn", "fcos", "atss")
MINISCENES = [CONFIGS / "detectors" / f"{d}_miniscenes.py" for d in (*DETECTORS, "yolov4")]
STEPS = [(d, folder) for folder in ("detectors", "trainability") for d in DETECTORS] + [
    ("yolov4", "detectors")
]
ALL = MINISCENES + sorted((CONFIGS / "trainability").glob("*.py"))
CLASSES = ("ball", "crate", "tent", "star", "ring", "pine tree", "kite", "street sign")


def load(path, **overrides):
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    config = load_config(str(path), [f"{name}={value}" for name, value in overrides.items()])
    init_default_scope("mmdet")
    return config


def write_scenes(root, split, images=8):
    """Noise with a few boxes; enough for a step."""
    rng = np.random.default_rng(0)
    (root / split / "images").mkdir(parents=True)
    categories = [dict(id=i + 1, name=n) for i, n in enumerate(CLASSES)]
    coco = dict(images=[], annotations=[], categories=categories)
    for i in range(1, images + 1):
        cv2.imwrite(
            str(root / split / "images" / f"{i}.png"), rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
        )
        coco["images"].append(dict(id=i, file_name=f"{i}.png", width=64, height=64))
        for _ in range(3):
            x, y = rng.integers(0, 40, 2).tolist()
            annotation = dict(id=len(coco["annotations"]) + 1, image_id=i, bbox=[x, y, 22, 20], area=440)
            coco["annotations"].append({**annotation, "category_id": int(rng.integers(1, 9)), "iscrowd": 0})
    (root / split / "instances.json").write_text(json.dumps(coco))
    return coco


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Splits detector, train, val and a synthetic set."""
    root = tmp_path_factory.mktemp("scenes")
    for split in ("detector", "train", "val"):
        coco = write_scenes(root, split)
    synthetic = root / "synthetic"
    (root / "val").rename(synthetic)
    for image in coco["images"]:
        image.update(source_image_id=image["id"], strategy="hard")
    (synthetic / "annotations.json").write_text(json.dumps(coco))
    write_scenes(root, "val")
    return root


def test_every_arm_is_there():
    names = {path.stem for path in ALL}
    for detector in DETECTORS:
        for arm in ("real", "mixed"):
            assert {f"{detector}_{arm}_miniscenes", f"{detector}_r50_fpn_{arm}_coco"} <= names
        assert f"{detector}_r50_fpn_real-equal-iters_coco" in names


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_parses_and_fits_together(path):
    from mmdet.registry import DATASETS, METRICS

    config = load(path)
    train, val = config.train_dataloader.dataset, config.val_dataloader.dataset
    assert DATASETS.get(train.type) and DATASETS.get(val.type)
    while inner := train.get("dataset") or train.get("datasets", [None])[0]:  # of a data set around others
        train = inner
    assert DATASETS.get(train.type)
    assert METRICS.get(config.val_evaluator.type)
    assert ("synthetic" in train) == ("_mixed" in path.stem)
    schedule = config.train_cfg.get("max_iters") or config.train_cfg.get("max_epochs")
    if path.stem.endswith("miniscenes"):
        assert config.param_scheduler[-1].end == schedule
        assert train.metainfo.classes == CLASSES
    else:
        assert config.param_scheduler[-1].end == schedule
        assert schedule == 6 and config.val_evaluator.classwise


@pytest.mark.parametrize("detector", DETECTORS)
def test_equal_iterations_differ_from_the_real_arm_in_the_sampler_alone(detector):
    real = load(CONFIGS / "trainability" / f"{detector}_r50_fpn_real_coco.py")
    equal = load(
        CONFIGS / "trainability" / f"{detector}_r50_fpn_real-equal-iters_coco.py", synthetic_root="/a/b"
    )
    sampler = equal.train_dataloader.pop("sampler")
    assert sampler == dict(type="detdiffusion.EqualLengthSampler", synthetic_root="/a/b")
    real.train_dataloader.pop("sampler")
    for key in ("model", "train_dataloader", "train_cfg", "param_scheduler", "val_dataloader"):
        assert equal[key] == real[key]


@pytest.mark.parametrize("detector", DETECTORS)
def test_coco_models_build(detector):
    """On the meta device: shapes only."""
    from mmdet.registry import MODELS

    config = load(CONFIGS / "trainability" / f"{detector}_r50_fpn_mixed_coco.py")
    with torch.device("meta"):
        model = MODELS.build(config.model)
    assert 30e6 < sum(p.numel() for p in model.parameters()) < 45e6


def test_yolov4_of_the_yolo_score():
    """Darknet's network and processing, on every class of COCO."""
    from mmdet.registry import DATASETS, MODELS, TRANSFORMS

    config = load(CONFIGS / "detectors" / "yolov4_coco.py", data_root="/coco/")
    with torch.device("meta"):
        model = MODELS.build(config.model)
    assert sum(p.numel() for p in model.parameters()) == 64363101
    assert model.test_cfg["score_thr"] == 0.25 and model.test_cfg["nms"] == dict(
        type="nms", iou_threshold=0.45
    )
    dataset = config.test_dataloader.dataset
    assert DATASETS.get(dataset.type) and dataset.data_root == "/coco/"
    steps = [TRANSFORMS.build(step) for step in dataset.pipeline if step.type in ("Resize", "PackDetInputs")]
    image = np.zeros((300, 400, 3), np.uint8)
    packed = steps[1](
        steps[0](dict(img=image, img_id=1, img_path="", ori_shape=(300, 400), img_shape=(300, 400)))
    )
    assert packed["inputs"].shape == (3, 608, 608)
    assert packed["data_samples"].scale_factor == pytest.approx((1.52, 608 / 300))


@pytest.mark.parametrize("detector, folder", STEPS)
def test_miniscenes_train_steps(detector, folder, scenes):
    """Loss falls over a few steps on one batch, through the config's own data set, pipeline and optimizer."""
    from mmdet.registry import DATASETS, MODELS
    from mmengine.dataset import pseudo_collate
    from mmengine.optim import build_optim_wrapper

    name = f"{detector}_{'mixed_' if folder == 'trainability' else ''}miniscenes.py"
    overrides = {"synthetic_root": str(scenes / "synthetic")} if folder == "trainability" else {}
    if detector == "yolov4":  # after six steps nothing is above its own threshold
        overrides["model.test_cfg.score_thr"] = 0.0001
    config = load(CONFIGS / folder / name, data_root=f"{scenes}/", **overrides)
    torch.manual_seed(0)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    assert len(dataset) == (16 if folder == "trainability" else 8)
    model = MODELS.build(config.model)
    model.init_weights()
    optim_wrapper = build_optim_wrapper(model, config.optim_wrapper)
    batch = pseudo_collate([dataset[i] for i in range(4)])
    losses = [float(model.train_step(batch, optim_wrapper)["loss"]) for _ in range(6)]
    assert np.isfinite(losses).all() and losses[-1] < 0.95 * losses[0]
    model.eval()
    results = model.test_step(pseudo_collate([DATASETS.build(config.val_dataloader.dataset)[0]]))
    boxes = results[0].pred_instances.bboxes
    assert 0 < len(boxes) <= 50 and boxes.max() <= 64.01  # in pixels of the file, not of the enlarged input


def test_overrides_reach_every_path():
    config = load(MINISCENES[0], data_root="/elsewhere")
    text = config.pretty_text
    assert "data/miniscenes" not in text
    assert config.val_evaluator.ann_file == "/elsewhere/val/instances.json"
    assert config.test_dataloader.dataset.data_root == "/elsewhere/"
    config = load(CONFIGS / "trainability" / "atss_r50_fpn_real_coco.py", data_root="/coco/")
    assert config.val_evaluator.ann_file == "/coco/annotations/instances_val2017.json"
    assert config.train_dataloader.dataset.data_root == "/coco/"


def test_bad_data_is_one_error(scenes, tmp_path):
    from mmdet.registry import DATASETS

    def build(**changes):
        config = load(MINISCENES[0], data_root=f"{scenes}/")
        config.train_dataloader.dataset.update(changes)
        return DATASETS.build(config.train_dataloader.dataset)

    with pytest.raises(UserError, match="no annotation file .*set data_root"):
        build(data_root=str(tmp_path))
    with pytest.raises(UserError, match="no image folder"):
        build(data_prefix=dict(img="detector/none/"))
    with pytest.raises(UserError, match="lacks the class 'bal'.*near matches: ball"):
        build(metainfo=dict(classes=("bal", *CLASSES[1:])))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match="broken.json: broken json at line 1"):
        build(ann_file=str(tmp_path / "broken.json"))


def test_every_arm_logs_the_classes():
    """The paper's table 3 needs AP by class from every training."""
    arms = sorted((CONFIGS / "trainability").glob("*.py"))
    assert {"atss_real_miniscenes.py", "fcos_mixed_miniscenes.py"} <= {path.name for path in arms}
    for path in arms:
        config = Config.fromfile(path, import_custom_modules=False)
        assert config.val_evaluator.classwise, path.name


@pytest.mark.parametrize("base", ["detectors/atss_miniscenes.py", "trainability/fcos_mixed_miniscenes.py"])
def test_an_heir_in_another_folder_builds_all_parts_by_mmdets_names(tmp_path, base):
    from mmdet.registry import MODELS, TRANSFORMS, VISUALIZERS

    if not (CONFIGS.parent / "detdiffusion/.mim").exists():
        pytest.skip("the package is not installed (pip install -e .)")
    (tmp_path / "mine.py").write_text(f"_base_ = 'detdiffusion::{base}'\ntrain_cfg = dict(max_iters=5)\n")
    config = load(tmp_path / "mine.py")
    assert "_scope_" not in str(config.to_dict())
    assert MODELS.build(config.model) and VISUALIZERS.build({**config.visualizer, "name": str(tmp_path)})
    assert [TRANSFORMS.build(step) for step in config.train_pipeline]
    assert config.train_cfg.max_iters == 5
