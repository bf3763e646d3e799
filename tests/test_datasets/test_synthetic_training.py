"""Detectors train on real + synthetic images: a ratio a batch, ignored regions, provenance, the realised share."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner

from detdiffusion.datasets.miniscenes import write_miniscenes
from detdiffusion.utils import compat
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError

DETECTORS = ("faster-rcnn", "fcos", "atss")
META = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "flip", "synthetic", "strategy")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Real scenes, and a synthetic set of 6 images in the form of tools/generate.py, one object not prompted."""
    root = tmp_path_factory.mktemp("data")
    for split, count in (("train", 12), ("val", 2)):
        write_miniscenes(root, split, count, size=64, seed=len(split))
    synthetic = root / "synthetic"
    write_miniscenes(root / "made", "train", 6, size=64, seed=9)
    shutil.move(root / "made/train/images", synthetic / "images")
    coco = json.loads((root / "made/train/instances.json").read_text())
    for image in coco["images"]:
        image.update(source_image_id=image["id"], strategy="hard", seed=0, sample_index=0)
        image["id"] += 10**12
    for annotation in coco["annotations"]:
        annotation.pop("segmentation")
        annotation.update(image_id=annotation["image_id"] + 10**12, iscrowd=0, attribute="hard")
    coco["images"][0]["not_prompted"] = [
        dict(bbox=[4.0, 4.0, 30.0, 20.0], category_id=1, source_annotation_id=1),
        dict(
            bbox=[0.0, 0.0, 64.0, 30.0], category_id=10**6, source_annotation_id=2
        ),  # a class of no detector
    ]
    (synthetic / "annotations.json").write_text(json.dumps(coco))
    return root


def config_of(detector, data, arm="mixed", max_iters=None, synthetic_weight=None, **changes):
    compat.setup()
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    options = [f"data_root={data}/", f"synthetic_root={data}/synthetic"]
    given = dict(max_iters=max_iters, synthetic_weight=synthetic_weight)
    options += [f"{name}={value}" for name, value in given.items() if value is not None]
    path = f"configs/trainability/{detector}_{arm}_miniscenes.py"
    config = load_config(path, options)
    config.train_dataloader.dataset.pipeline[-1].meta_keys = META
    config.merge_from_dict(changes)
    return config


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_step_with_a_ratio_a_batch(detector, data, repo_root, monkeypatch):
    """mmdet's MultiSourceSampler through mmengine's own data loader, into a training step."""
    from mmdet.registry import MODELS
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import DefaultScope

    monkeypatch.chdir(repo_root)
    config = config_of(detector, data)
    config.train_dataloader.update(
        batch_size=4, sampler=dict(type="MultiSourceSampler", batch_size=4, source_ratio=[3, 1])
    )
    with DefaultScope.overwrite_default_scope("mmdet"):
        loader = Runner.build_dataloader(config.train_dataloader, seed=0)
        assert isinstance(loader.dataset[0]["data_samples"].synthetic, bool)
        batches = iter(loader)
        for _ in range(3):
            batch = next(batches)
            assert [s.synthetic for s in batch["data_samples"]] == [False] * 3 + [True]
            assert [s.strategy for s in batch["data_samples"]] == [""] * 3 + ["hard"]
        with_region = pseudo_collate([loader.dataset[i] for i in range(len(loader.dataset))][-6:])
        ignored = [len(s.ignored_instances) for s in with_region["data_samples"]]
        assert ignored == [1, 0, 0, 0, 0, 0]
        torch.manual_seed(0)
        model = MODELS.build(config.model)
        model.init_weights()
        optim_wrapper = build_optim_wrapper(model, config.optim_wrapper)
        for one in (batch, with_region):
            losses = model.train_step(one, optim_wrapper)
            assert np.isfinite([float(v) for v in losses.values()]).all()
    assert loader.dataset.report["synthetic regions ignored: object not prompted"] == 1


def test_ignored_regions_are_resized_and_flipped_with_the_image(data, repo_root, monkeypatch):
    from mmdet.registry import DATASETS
    from mmengine.registry import DefaultScope

    monkeypatch.chdir(repo_root)
    config = config_of("atss", data)
    config.train_dataloader.dataset.pipeline[3].prob = 1.0
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = DATASETS.build(config.train_dataloader.dataset)
        sample = dataset[dataset.num_real]["data_samples"]
        box = sample.ignored_instances.bboxes.tensor[0]
        assert torch.allclose(box, torch.tensor([30.0, 4.0, 60.0, 24.0]) * 1.5)  # 64 px enlarged to 96
        config.train_dataloader.dataset.ignore_not_prompted = False
        without = DATASETS.build(config.train_dataloader.dataset)
        assert len(without[without.num_real]["data_samples"].ignored_instances) == 0
        path = data / "synthetic/broken.json"
        coco = json.loads((data / "synthetic/annotations.json").read_text())
        coco["images"][0]["not_prompted"] = [dict(bbox=[1, 2], category_id=1)]
        path.write_text(json.dumps(coco))
        config.train_dataloader.dataset.update(
            ignore_not_prompted=True,
            synthetic=[dict(data_root=str(data / "synthetic"), ann_file="broken.json")],
        )
        with pytest.raises(UserError, match="'not_prompted' must list objects with bbox"):
            DATASETS.build(config.train_dataloader.dataset)


def test_the_realised_share_is_logged(data, repo_root, monkeypatch, tmp_path):
    """tools/train.py's runner adds the hook by itself; the log has the share an iteration and the sums."""
    from detdiffusion.engine import build_runner, launch
    from detdiffusion.engine.mixing_hook import _why_not_ignored

    monkeypatch.chdir(repo_root)
    changes = {
        "train_cfg.max_iters": 4,
        "train_cfg.val_interval": 10,
        "default_hooks.logger.interval": 1,
        "work_dir": str(tmp_path / "work"),
        "param_scheduler": [],
        "experiment_name": "share",
    }
    config = config_of("atss", data, **changes)
    config.train_dataloader.update(
        batch_size=4, sampler=dict(type="MultiSourceSampler", batch_size=4, source_ratio=[1, 1])
    )
    launch.prepare_ranks(config, "none")
    runner = build_runner(config)
    runner.train()
    log = next((tmp_path / "work").rglob("scalars.json")).read_text().splitlines()
    shares = [json.loads(line)["synthetic_share"] for line in log if "synthetic_share" in line]
    assert shares == [0.5] * 4
    text = next((tmp_path / "work").rglob("*.log")).read_text()
    assert re.search(r"images shown: 8 real, 8 synthetic \(50.0% synthetic\)", text)
    assert "real:synthetic = 12:6" in text
    assert "ignored regions" not in text.split("images shown")[0].split("real:synthetic")[1]
    runner.model.bbox_head.assigner.ignore_iof_thr = -1  # as mmdet's own
    assert _why_not_ignored(runner.model) == "name it detdiffusion.ATSSAssigner in the config"


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py", "name it detdiffusion.FCOSHead in the config"),
        ("detr/detr_r50_8xb2-150e_coco.py", "HungarianAssigner cannot ignore them"),
        ("yolox/yolox_tiny_8xb8-300e_coco.py", "SimOTAAssigner cannot ignore them"),
        ("tood/tood_r50_fpn_1x_coco.py", "TaskAlignedAssigner cannot ignore them"),
    ],
)
def test_ignored_regions_that_count_as_background_are_said(base, said, tmp_path):
    compat.setup()
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.registry import DefaultScope

    from detdiffusion.engine.mixing_hook import _why_not_ignored

    register_all_modules(init_default_scope=False)
    (tmp_path / "config.py").write_text(f"_base_ = 'mmdet::{base}'\n")
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(load_config(str(tmp_path / "config.py")).model)
        assert _why_not_ignored(model) == said


def test_schedule_and_weight_by_config(data, repo_root, monkeypatch, tmp_path):
    """The share falls from 1 to 0 as logged; weight 1 leaves the training as it is, bit by bit, weight 0 does not."""
    from detdiffusion.engine import build_runner, launch

    monkeypatch.chdir(repo_root)

    def train(name, weight):
        config = config_of("atss", data, arm="mixed-schedule", synthetic_weight=weight, max_iters=4)
        config.train_dataloader.batch_size = config.train_dataloader.sampler.batch_size = 4
        config.merge_from_dict(
            {"train_cfg.val_interval": 10, "default_hooks.logger.interval": 1, "log_processor.window_size": 2}
        )
        config.param_scheduler, config.work_dir, config.experiment_name = [], str(tmp_path / name), name
        config.visualizer.name = name
        if weight is None:
            config.pop("custom_hooks")
        launch.prepare_ranks(config, "none")
        runner = build_runner(config)
        runner.train()
        log = next((tmp_path / name).rglob("scalars.json")).read_text().splitlines()
        lines = [json.loads(line) for line in log if "synthetic_share" in line]
        assert [line["synthetic_share"] for line in lines] == pytest.approx([1, 7 / 8, 9 / 12, 10 / 16])
        assert [line["recent_synthetic_share"] for line in lines] == pytest.approx([1, 7 / 8, 5 / 8, 3 / 8])
        text = next((tmp_path / name).rglob("*.log")).read_text()
        assert ("synthetic images have weight" in text) == (weight is not None)
        return runner.model.state_dict(), [line["loss"] for line in lines]

    plain, losses = train("plain", None)
    one, losses_of_one = train("one", 1.0)
    zero, losses_of_zero = train("zero", 0.0)
    assert losses == losses_of_one and all(torch.equal(plain[key], one[key]) for key in plain)
    assert losses[0] == losses_of_zero[0]  # the first loss, which is logged without the weight
    assert not all(torch.equal(plain[key], zero[key]) for key in plain)


@pytest.mark.parametrize(
    ("detector", "parts"), [("atss", ("assigner",)), ("faster-rcnn", ("rpn.assigner", "rcnn.assigner"))]
)
def test_what_lies_in_an_ignored_region_is_no_negative(detector, parts, repo_root):
    """mmdet's own assigners with the settings of the COCO configs."""
    compat.setup()
    from mmdet.registry import TASK_UTILS
    from mmdet.utils import register_all_modules
    from mmengine.structures import InstanceData

    register_all_modules(init_default_scope=False)
    priors = torch.tensor([[0, 0, 32, 32], [60, 60, 92, 92], [70, 70, 102, 102], [200, 200, 232, 232.0]])
    truth = InstanceData(bboxes=torch.tensor([[0, 0, 32, 32.0]]), labels=torch.tensor([3]))
    region = InstanceData(bboxes=torch.tensor([[50, 50, 110, 110.0]]))
    for arm in ("real", "mixed", "real-equal-iters"):
        config = load_config(str(repo_root / f"configs/trainability/{detector}_r50_fpn_{arm}_coco.py"))
        for part in parts:
            assigner = TASK_UTILS.build(
                dict(config.model.train_cfg[part.split(".")[0]].assigner, _scope_="mmdet")
                if "." in part
                else dict(config.model.train_cfg[part], _scope_="mmdet")
            )
            levels = ([4],) if detector == "atss" else ()
            found = assigner.assign(InstanceData(priors=priors), *levels, truth, region)
            assert found.gt_inds.tolist() == [1, -1, -1, 0], (arm, part)


@pytest.mark.parametrize("detector", ["atss", "faster-rcnn", "fcos"])
def test_the_detectors_of_the_paper_ignore_regions(detector, repo_root):
    compat.setup()
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.registry import DefaultScope

    from detdiffusion.engine.mixing_hook import _why_not_ignored

    register_all_modules(init_default_scope=False)
    config = load_config(str(repo_root / f"configs/trainability/{detector}_r50_fpn_mixed_coco.py"))
    with DefaultScope.overwrite_default_scope("mmdet"):
        assert (
            _why_not_ignored(torch.nn.ModuleDict({"module": MODELS.build(config.model)})) == ""
        )  # as of ranks


def test_the_hook_wants_a_synthetic_part(data, repo_root, monkeypatch):
    from detdiffusion.engine import MixingRatioHook
    from detdiffusion.engine.launch import _mixes

    class Runner:
        class train_dataloader:
            class dataset:
                datasets = ()

    with pytest.raises(UserError, match="no SyntheticAugmentedCocoDataset"):
        MixingRatioHook().before_train(Runner)
    inner = dict(type="detdiffusion.SyntheticAugmentedCocoDataset")
    assert _mixes(dict(type="RepeatDataset", dataset=dict(type="ConcatDataset", datasets=[inner])))
    assert not _mixes(dict(type="CocoDataset")) and not _mixes(None)
