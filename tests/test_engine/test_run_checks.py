"""Classes, schedules and images against each other, before a training."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.config import Config, ConfigDict

from detdiffusion.datasets.image_survey import survey_images
from detdiffusion.engine.run_checks import check_classes, fit_schedule, parts_of


def data(*names):
    return SimpleNamespace(metainfo=dict(classes=names))


def found(model, *names, scope="mmengine"):
    config = Config(dict(model=model, default_scope=scope))
    return [finding.item for finding in check_classes(config, "train_dataloader", data(*names))]


HEAD = dict(num_classes=2)


@pytest.mark.parametrize(
    "model, wrong",
    [
        (dict(bbox_head=HEAD), []),
        (dict(bbox_head=dict(num_classes=3)), ["model.bbox_head.num_classes"]),
        (dict(roi_head=dict(bbox_head=[HEAD, dict(num_classes=1)])), ["model.roi_head.bbox_head.1.num_classes"]),
        (dict(roi_head=dict(bbox_head=HEAD, mask_head=dict(num_classes=80))), ["model.roi_head.mask_head.num_classes"]),
        (dict(rpn_head=dict(num_classes=1), bbox_head=HEAD), []),
        (dict(panoptic_head=dict(num_things_classes=1, num_stuff_classes=2)),
         ["model.panoptic_head.num_things_classes"]),
        (dict(cfg=dict(num_classes=5)), ["model.cfg.num_classes"]),
        (dict(language_model=dict(), bbox_head=dict(num_classes=256)), []),
    ],
)  # fmt: skip
def test_every_head_is_compared(model, wrong):
    assert found(model, "cat", "dog") == wrong


def test_data_sets_inside_of_others_are_compared():
    mixed = SimpleNamespace(datasets=[data("a", "b"), SimpleNamespace(dataset=data("a"))])
    assert [len(one.metainfo["classes"]) for one in parts_of(mixed)] == [2, 1]
    config = Config(dict(model=dict(bbox_head=HEAD)))
    (finding,) = check_classes(config, "val_dataloader", mixed)
    assert "num_classes is 2" in str(finding) and "has 1 classes" in str(finding)


def schedule(length, **loop):
    return Config(
        dict(
            train_cfg=loop,
            param_scheduler=[
                dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=40),
                dict(type="CosineAnnealingLR", by_epoch=False, begin=40, end=length),
            ],
        )
    )


@pytest.mark.parametrize("length", [2, 20, 40])
def test_a_warm_up_longer_than_the_run_is_shortened(length):
    config = schedule(length, max_iters=length)
    fit_schedule(config, None)
    first, second = config.param_scheduler
    assert first.begin < first.end <= length and second.begin == first.end
    assert second.begin < second.end


def test_one_iteration_has_no_room_for_more_than_a_warm_up():
    config = schedule(1, max_iters=1)
    fit_schedule(config, None)
    assert [(one.begin, one.end) for one in config.param_scheduler] == [(0, 1)]


def test_a_run_that_is_long_enough_keeps_its_schedule():
    config = schedule(800, max_iters=800)
    before = config.param_scheduler[0].copy(), config.param_scheduler[1].copy()
    assert not fit_schedule(config, None) and (*config.param_scheduler,) == before


def test_epochs_count_in_batches():
    config = schedule(10, max_epochs=2)
    config.param_scheduler[1] = ConfigDict(
        type="CosineAnnealingLR", begin=0, end=2, convert_to_iter_based=True
    )
    fit_schedule(config, 10)
    assert config.param_scheduler[0].end == 2 and config.param_scheduler[1].end == 2


def test_a_schedule_longer_than_the_run_is_said():
    config = schedule(800, max_iters=100)
    (finding,) = fit_schedule(config, None)
    assert finding.severity == "warning" and "iteration 800" in str(finding) and "100" in str(finding)


def test_all_missing_and_unreadable_images_are_counted(tmp_path):
    for index in range(6):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "4.png").write_bytes(b"not an image")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3))
    (tmp_path / "5.jpg").write_bytes(cv2.imencode(".jpg", noise)[1].tobytes()[:900])
    paths = [str(tmp_path / name) for name in ("0.png", "1.png", "a.png", "b.png", "4.png", "5.jpg")]
    for seconds in (None, 20.0, -1.0):
        found = {str(f): f for f in survey_images(paths, seconds=seconds).findings(tmp_path)}
        (missing,) = (f for text, f in found.items() if "that is missing" in text)
        assert missing.count == 2 and {"a.png", "b.png"} <= {Path(p).name for p in missing.item.split(", ")}
        broken = [f for f in found.values() if f.severity == "error" and f is not missing]
        notes = [f.count for f in found.values() if f.severity == "note"]
        if seconds == -1.0:  # no time at all: presence alone
            assert not broken and notes == [4]
        else:
            assert sum(f.count for f in broken) == 2 and not notes
    assert not survey_images(paths[:2]).findings(tmp_path)


def test_a_main_phase_is_no_warm_up():
    phases = [
        dict(type="CosineAnnealingLR", by_epoch=False, begin=0, end=3000),
        dict(type="ConstantLR", factor=1.0, by_epoch=False, begin=3000, end=4000),
    ]
    config = Config(dict(train_cfg=dict(max_iters=3000), param_scheduler=phases))
    found = fit_schedule(config, None)
    assert config.param_scheduler[0].end == 3000 and config.param_scheduler[1].begin == 3000
    assert {finding.severity for finding in found} == {"warning"}
