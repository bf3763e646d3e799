"""mmdet's metric behind the gate: perfect boxes score 1 whatever the ids, and the file is the data set's."""

import json

import pytest
import torch
from mmengine.config import Config

from detdiffusion.engine import launch
from detdiffusion.registry import METRICS
from detdiffusion.utils import compat
from detdiffusion.utils.errors import UserError

compat.setup()
import detdiffusion.evaluation.coco_metric  # noqa: E402, F401

CLASSES = ("cup", "bowl")


@pytest.fixture
def data():
    images = [dict(id=i, file_name=f"{i}.png", width=64, height=64) for i in range(3)]
    annotations = [
        dict(id=i, image_id=i // 2, category_id=i % 2, bbox=[4 + 20 * (i % 2), 8, 16, 40], area=0, iscrowd=0)
        for i in range(6)
    ]
    return dict(
        images=images, annotations=annotations, categories=[dict(id=i, name=n) for i, n in enumerate(CLASSES)]
    )


def score(tmp_path, data, images=None, classes=CLASSES, **options):
    """The metric of perfect predictions on some of the images."""
    (tmp_path / "ann.json").write_text(json.dumps(data))
    metric = METRICS.build(
        dict(type="CheckedCocoMetric", ann_file=str(tmp_path / "ann.json"), metric="bbox", **options)
    )
    metric.dataset_meta = dict(classes=classes)
    label = {category["id"]: k for k, category in enumerate(data["categories"])}
    images = [image["id"] for image in data["images"]] if images is None else images
    for image_id in images:
        own = [a for a in data["annotations"] if a["image_id"] == image_id]
        boxes = torch.tensor([a["bbox"] for a in own], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        found = dict(
            bboxes=boxes,
            scores=torch.full((len(own),), 0.9),
            labels=torch.tensor([label[a["category_id"]] for a in own]),
        )
        metric.process({}, [dict(img_id=image_id, ori_shape=(64, 64), pred_instances=found)])
    return metric.evaluate(len(images))


@pytest.mark.parametrize("first", [0, 1, 2**53, 2**63 - 10])
def test_perfect_boxes_score_one(tmp_path, data, first):
    for annotation in data["annotations"]:
        annotation.update(id=first + annotation["id"], image_id=first + annotation["image_id"])
        annotation["category_id"] += first
    for entry in (*data["images"], *data["categories"]):
        entry["id"] += first
    metrics = score(tmp_path, data)
    assert metrics["coco/bbox_mAP"] == pytest.approx(1.0) and metrics["coco/bbox_mAP_s"] == pytest.approx(1.0)


def test_nothing_found_is_zero(tmp_path, data):
    (tmp_path / "ann.json").write_text(json.dumps(data))
    metric = METRICS.build(
        dict(type="CheckedCocoMetric", ann_file=str(tmp_path / "ann.json"), metric="bbox", classwise=True)
    )
    metric.dataset_meta = dict(classes=CLASSES)
    empty = dict(bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.long))
    for image in data["images"]:
        metric.process({}, [dict(img_id=image["id"], ori_shape=(64, 64), pred_instances=empty)])
    metrics = metric.evaluate(3)
    assert metrics["coco/bbox_mAP"] == metrics["coco/bbox_mAP_50"] == 0
    assert [metrics[f"coco/{name}_precision"] for name in CLASSES] == [0, 0]


def test_what_is_not_the_data_sets_is_refused(tmp_path, data, caplog):
    with pytest.raises(UserError, match="ann.json: metainfo.* has another order"):
        score(tmp_path, data, classes=CLASSES[::-1])
    with pytest.raises(UserError, match=r"write \('cup',\) with a comma"):
        score(tmp_path, data, classes="cup")
    data["images"].append(dict(id=9, file_name="9.png", width=64, height=64))
    less = dict(data, images=data["images"][:3])
    (tmp_path / "less").mkdir()
    with pytest.raises(UserError, match=r"ann.json: lacks 1 of the 4 images of the data set \(ids 9\)"):
        score(tmp_path / "less", less, images=[0, 1, 2, 9])
    data["annotations"][0]["bbox"] = [1, 2, 3]
    with pytest.raises(UserError, match=r"ann.json: annotations\[0\] \(id 0\): 'bbox' must be four numbers"):
        score(tmp_path, data)


def test_categories_in_the_order_of_their_ids(tmp_path, data):
    data["categories"].reverse()
    assert score(tmp_path, data, classes=CLASSES[::-1])["coco/bbox_mAP"] == pytest.approx(1.0)
    with pytest.raises(UserError, match="another order"):
        score(tmp_path, data, classes=CLASSES[::-1], sort_categories=True)


def test_runs_use_it_in_the_place_of_mmdets():
    own = dict(type="CocoMetric", ann_file="a.json")
    other = dict(type="LVISMetric", ann_file="a.json")
    cfg = Config(
        dict(
            default_scope="mmdet",
            val_evaluator=[own, other],
            test_evaluator=dict(type="Evaluator", metrics=[dict(own, type="mmdet.CocoMetric")]),
        )
    )
    launch._check_annotations(cfg)
    assert [metric["type"] for metric in cfg.val_evaluator] == [
        "detdiffusion.CheckedCocoMetric",
        "LVISMetric",
    ]
    assert cfg.test_evaluator.metrics[0].type == "detdiffusion.CheckedCocoMetric"
