"""What mmdet drops in silence, hangs at or shows as a traceback is counted or one clear error."""

import json

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image

from detdiffusion.registry import DATASETS
from detdiffusion.utils import compat
from detdiffusion.utils.errors import UserError

compat.setup()
import detdiffusion.datasets.checked_coco  # noqa: E402
import detdiffusion.datasets.synthetic_coco  # noqa: E402, F401

CATEGORIES = [dict(id=1, name="ball"), dict(id=2, name="tent"), dict(id=3, name="sky")]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "images").mkdir()
    images, annotations = [], []
    for i in (1, 2, 3):
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / f"images/{i}.png")
        images.append(dict(id=i, file_name=f"{i}.png", width=30, height=20))
        for category in (1, 2, 3):
            annotation = dict(id=len(annotations) + 1, image_id=i, category_id=category, bbox=[1, 2, 9, 8])
            annotations.append(dict(annotation, area=72, iscrowd=0))
    annotations[0]["bbox"] = [1, 2, 0, 8]
    annotations[1]["bbox"] = [90, 90, 5, 5]
    coco = dict(images=images, annotations=annotations, categories=CATEGORIES)
    (tmp_path / "annotations.json").write_text(json.dumps(coco))
    return tmp_path


def build(root, kind="CheckedCocoDataset", **kwargs):
    options = dict(
        type=f"detdiffusion.{kind}",
        data_root=str(root),
        ann_file="annotations.json",
        data_prefix=dict(img="images/"),
        metainfo=dict(classes=("ball", "tent")),
        pipeline=[dict(type="LoadImageFromFile")],
        serialize_data=False,
    )
    with DefaultScope.overwrite_default_scope("mmdet"):
        return DATASETS.build({**options, **kwargs})


def test_objects_left_out_are_counted_and_printed(root, monkeypatch):
    lines = []
    monkeypatch.setattr("detdiffusion.datasets.checked_coco.print_log", lambda line, **_: lines.append(line))
    dataset = build(root, filter_cfg=dict(filter_empty_gt=True))
    assert len(dataset) == 2
    assert dataset.report == {
        "box of zero or negative size": 1,
        "box outside its image": 1,
        "class not among metainfo['classes']": 3,
        "images: filter_cfg": 1,
    }
    text = " ".join(lines)
    assert "box of zero or negative size: 1" in text and "1 images left out by filter_cfg" in text


def test_nothing_left_after_the_filter_is_an_error(root):
    with pytest.raises(UserError, match=r"no image is left by .*min_size.*all 3 are dropped, 1 of them"):
        build(root, filter_cfg=dict(min_size=100))


def test_classes_in_another_order_are_refused(root):
    with pytest.raises(UserError, match="another order"):
        build(root, metainfo=dict(classes=("tent", "ball")))


def test_a_test_json_may_lack_annotations(root):
    data = json.loads((root / "annotations.json").read_text())
    (root / "annotations.json").write_text(json.dumps({k: data[k] for k in ("images", "categories")}))
    assert len(build(root, test_mode=True)) == 3


@pytest.mark.parametrize("test_mode", [False, True])
@pytest.mark.parametrize("kind", ["CheckedCocoDataset", "SyntheticAugmentedCocoDataset"])
def test_an_image_that_cannot_be_read_is_named(root, kind, test_mode):
    own = dict(synthetic=[dict(data_root=str(root))]) if kind.startswith("Synthetic") else {}
    dataset = build(root, kind, test_mode=test_mode, **own)
    assert dataset[2]["img_id"] == 3
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(root / "images/1.png", format="jpeg")
    jpeg = (root / "images/1.png").read_bytes()
    assert dataset[0]["img_id"] == 1
    (root / "images/1.png").write_bytes(jpeg[:-8])
    with pytest.raises(UserError, match=r"1.png \(image id 1\): is cut off"):
        dataset[0]
    (root / "images/2.png").write_bytes(b"no image")
    (root / "images/3.png").unlink()
    with pytest.raises(UserError, match=r"2.png \(image id 2\): cannot be read as an image"):
        dataset[1]
    with pytest.raises(UserError, match=r"3.png \(image id 3\): is missing"):
        dataset[2]


def test_readers_of_masks_see_none_that_is_bad(root):
    """mmdet ends in a KeyError in a worker, or after the whole test."""
    from detdiffusion.evaluation.coco_metric import CheckedCocoMetric

    pipeline = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True, with_mask=True)]
    path = root / "annotations.json"
    data = json.loads(path.read_text())
    dataset = build(root, pipeline=pipeline)  # no masks at all: the boxes serve
    assert dataset[1]["gt_masks"].masks.sum() > 0
    data["annotations"][2]["segmentation"] = [1, 2, 9, 2, 9, 9]
    path.write_text(json.dumps(data))
    for read in (lambda: build(root, pipeline=pipeline), lambda: CheckedCocoMetric(str(path), metric="segm")):
        with pytest.raises(UserError, match="annotation id 3: a polygon is a flat list"):
            read()
    build(root)
    CheckedCocoMetric(str(path), metric="bbox")


@pytest.mark.parametrize("kind", ["CheckedCocoDataset", "SyntheticAugmentedCocoDataset"])
def test_a_filter_that_leaves_little(root, tmp_path, monkeypatch, kind):
    """As with layouts: a warning below half, an error below a twentieth, with the rule, its data and the option."""
    lines = []
    monkeypatch.setattr(
        "detdiffusion.datasets.coco_for_mmdet.print_log", lambda line, **_: lines.append(line)
    )
    data = json.loads((root / "annotations.json").read_text())
    data["annotations"] = [
        dict(id=k, image_id=1 + k % 2, category_id=1, bbox=[0, 0, 8, 8], area=64, iscrowd=0)
        for k in range(100)
    ]
    data["images"][0]["height"] = data["images"][1]["width"] = 16
    path = root / "annotations.json"
    path.write_text(json.dumps(data))
    options = dict(filter_cfg=dict(min_size=20), metainfo=dict(classes=("ball",)))
    if kind.startswith("Synthetic"):
        options["synthetic"] = [dict(ann_file=str(path), data_prefix=dict(img=str(root / "images")))]
    with pytest.raises(
        UserError,
        match=r"keeps only 0 of 100 objects \(0.0%\): min_size=20 removes 100 \(shorter.*min_kept=0",
    ):
        build(root, kind, **options)
    build(root, kind, min_kept=0, **options)
    assert "warning: " in lines[0] and "keeps only 0 of 100" in lines[0]
    build(root, kind, test_mode=True, **options)
    lines.clear()
    for number, annotation in enumerate(data["annotations"]):
        annotation.update(image_id=3, bbox=[0, 0, 8, 8 if number % 10 < 4 else 0.5], area=4)
    path.write_text(json.dumps(data))
    build(root, kind, **options)
    assert "40 of 100 objects (40.0%): a side of at least one pixel removes 60" in lines[0]
