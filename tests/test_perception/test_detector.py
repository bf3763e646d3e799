"""An mmdet detector as the source of predictions: equal to mmdet's own inference, and clear errors."""

import json

import cv2
import numpy as np
import pytest
import torch
from option_values import extract
from PIL import Image

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.perception.detector import MMDetDetector
from detdiffusion.perception.predictions import UNKNOWN_CATEGORY
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.image_rules import use_image_rules

CONFIG = """
default_scope = 'mmdet'
model = dict(
    type='FCOS',
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3, pad_size_divisor=32),
    backbone=dict(type='ResNet', depth=18, base_channels=8, num_stages=4, out_indices=(1, 2, 3),
                  norm_cfg=dict(type='BN'), init_cfg=dict(type='Pretrained', checkpoint='no/such/file.pth')),
    neck=dict(type='FPN', in_channels=[16, 32, 64], out_channels=16, num_outs=3),
    bbox_head=dict(type='FCOSHead', num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1,
                   strides=[8, 16, 32], regress_ranges=((-1, 32), (32, 64), (64, 1e8)), norm_cfg=None),
    test_cfg=dict(nms_pre=100, score_thr=0.001, nms=dict(type='nms', iou_threshold=0.6), max_per_img=15))
test_dataloader = dict(batch_size=2, dataset=dict(type='RepeatDataset', times=1, dataset=dict(
    type='CocoDataset', pipeline=[
        dict(type='LoadImageFromFile'), dict(type='Resize', scale=(96, 96), keep_ratio=True),
        dict(type='LoadAnnotations', with_bbox=True), dict(type='PackDetInputs')])))
"""
CLASSES = ("cat", "ghost", "dog")


@pytest.fixture(scope="module")
def detector_files(tmp_path_factory):
    """A config and seeded weights of a tiny FCOS; three images (two sizes) with annotations."""
    folder = tmp_path_factory.mktemp("detector")
    (folder / "config.py").write_text(CONFIG)
    rng = np.random.default_rng(0)
    images = []
    (folder / "images").mkdir()
    for i, (height, width) in enumerate([(48, 64), (64, 64), (48, 64)], 1):
        cv2.imwrite(str(folder / "images" / f"{i}.png"), rng.integers(0, 255, (height, width, 3), np.uint8))
        images.append(dict(id=i * 10, file_name=f"{i}.png", width=width, height=height))
    coco = dict(
        images=images,
        annotations=[
            dict(id=i, image_id=i * 10, category_id=i, bbox=[4.0, 4.0, 30.0, 30.0]) for i in (1, 2, 3)
        ],
        categories=[dict(id=1, name="dog"), dict(id=2, name="sky"), dict(id=3, name="cat")],
    )
    (folder / "ann.json").write_text(json.dumps(coco))

    from detdiffusion.utils import compat

    compat.setup()
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules()
    cfg = Config.fromfile(folder / "config.py")
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    save(model.state_dict(), folder / "det.pth", dict(dataset_meta=dict(classes=CLASSES)))
    return folder


def save(state, path, meta=None):
    torch.save(dict(state_dict=state, meta=meta or {}), path)


@pytest.fixture(scope="module")
def detector(detector_files):
    return MMDetDetector(detector_files / "config.py", detector_files / "det.pth", device="cpu")


def test_equals_mmdets_own_inference(detector, detector_files):
    from mmdet.apis import inference_detector
    from mmengine.registry import init_default_scope

    coco = read_coco(detector_files / "ann.json")
    found = detector.predict(
        coco.images, detector_files / "images", {"dog": 1, "sky": 2, "cat": 3}, batch_size=1, progress=False
    )
    assert detector.classes == CLASSES and len(found) > 10
    assert set(np.unique(found.category_ids)) <= {1, 3, UNKNOWN_CATEGORY}
    assert found.report.get("predictions of classes that the annotation files lack", 0) == (
        (found.category_ids == UNKNOWN_CATEGORY).sum()
    )
    init_default_scope("mmdet")
    detector.model.cfg = detector.config
    pipeline = detector._pipeline()
    for image in coco.images:
        path = str(detector_files / "images" / image["file_name"])
        expected = inference_detector(detector.model, path, test_pipeline=pipeline).pred_instances
        mine = found.image_ids == image["id"]
        np.testing.assert_allclose(found.boxes[mine], expected.bboxes.numpy(), rtol=1e-5)
        np.testing.assert_allclose(found.scores[mine], expected.scores.numpy(), rtol=1e-5)
        to_id = np.array([3, UNKNOWN_CATEGORY, 1])
        assert found.category_ids[mine].tolist() == to_id[expected.labels.numpy()].tolist()


def test_batches_and_workers_give_the_same(detector, detector_files):
    images = read_coco(detector_files / "ann.json").images[::2]  # equal sizes: no padding
    arguments = (images, detector_files / "images", {"dog": 1})
    one = detector.predict(*arguments, batch_size=1, progress=False)
    two = detector.predict(*arguments, batch_size=2, num_workers=1, progress=False)
    np.testing.assert_allclose(one.boxes, two.boxes, atol=1e-3)
    assert one.image_ids.tolist() == two.image_ids.tolist()


def test_extract_with_a_detector(detector_files, tmp_path, capsys):
    written = extract(
        [detector_files / "ann.json"],
        tmp_path / "a.json",
        detector=(str(detector_files / "config.py"), str(detector_files / "det.pth")),
        device="cpu",
        score_thr=0.99,
    )
    assert written.attributes == {1: "hard", 2: "background", 3: "hard"}
    assert written.info["detector"]["classes"] == list(CLASSES)
    assert "sky" in capsys.readouterr().out


def predict(detector, images, folder):
    return detector.predict(images, folder, {"dog": 1}, progress=False)


def test_bad_images_are_named(detector, detector_files, tmp_path):
    images = read_coco(detector_files / "ann.json").images
    with pytest.raises(UserError, match="no such image folder"):
        predict(detector, images, tmp_path / "none")
    with pytest.raises(UserError, match=r"3 of 3 images are missing \(1.png, 2.png, 3.png\)"):
        predict(detector, images, tmp_path)
    with pytest.raises(UserError, match="2.png .*64 x 64 pixels, but the annotation file says 60 x 64"):
        predict(detector, [dict(images[1], width=60)], detector_files / "images")
    (tmp_path / "1.png").write_text("not an image")
    with pytest.raises(UserError, match=r"1.png \(image id 10\): cannot be read as an image"):
        predict(detector, images[:1], tmp_path)
    jpeg = cv2.imencode(".jpg", cv2.imread(str(detector_files / "images/1.png")))[1].tobytes()
    (tmp_path / "1.png").write_bytes(jpeg)  # what a file is its content says
    predict(detector, images[:1], tmp_path)
    (tmp_path / "1.png").write_bytes(jpeg[: len(jpeg) // 2])
    with pytest.raises(UserError, match=r"1.png \(image id 10\): is cut off"):
        predict(detector, images[:1], tmp_path)
    upright = cv2.imread(str(detector_files / "images/1.png"))
    exif = Image.Exif()
    exif[274] = 3
    Image.fromarray(np.ascontiguousarray(upright[::-1, ::-1, ::-1])).save(tmp_path / "1.png", exif=exif)
    with pytest.raises(UserError, match="1.png .*EXIF orientation.*--exif-orientation"):
        predict(detector, images[:1], tmp_path)
    use_image_rules("apply")
    expected = predict(detector, images[:1], detector_files / "images")
    assert np.array_equal(predict(detector, images[:1], tmp_path).boxes, expected.boxes)


def test_bad_checkpoints_and_configs(detector, detector_files, tmp_path):
    config, state = detector_files / "config.py", detector.model.state_dict()
    meta = dict(dataset_meta=dict(classes=CLASSES))
    some = dict(state)
    some.pop("bbox_head.conv_cls.bias")
    save(some, tmp_path / "some.pth", meta)
    with pytest.raises(UserError, match="1 tensors missing .bbox_head.conv_cls.bias"):
        MMDetDetector(config, tmp_path / "some.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UserError, match="text.pth"):
        MMDetDetector(config, tmp_path / "text.pth")
    with pytest.raises(UserError, match="no.py"):
        MMDetDetector(tmp_path / "no.py", detector_files / "det.pth")
    (tmp_path / "bad.py").write_text("model = dict(")
    with pytest.raises(UserError, match="bad.py"):
        MMDetDetector(tmp_path / "bad.py", detector_files / "det.pth")
    (tmp_path / "generator.py").write_text("a = 1")
    with pytest.raises(UserError, match="lacks 'model'"):
        MMDetDetector(tmp_path / "generator.py", detector_files / "det.pth")


def test_other_numbers_of_classes_are_said(detector, detector_files, tmp_path):
    config, state = detector_files / "config.py", detector.model.state_dict()
    for names in (("cat",), ("a", "b", "c", "d")):
        save(state, tmp_path / "names.pth", dict(dataset_meta=dict(classes=names)))
        match = f"names.pth: .*bbox_head has num_classes=3, but there are {len(names)} class names"
        with pytest.raises(UserError, match=match):
            MMDetDetector(config, tmp_path / "names.pth", device="cpu")
    four = dict(state)
    for kind in ("weight", "bias"):
        four[f"bbox_head.conv_cls.{kind}"] = torch.cat([state[f"bbox_head.conv_cls.{kind}"]] * 2)[:4]
    save(four, tmp_path / "four.pth", dict(dataset_meta=dict(classes=("a", "b", "c", "d"))))
    match = (
        r"four.pth does not fit the model: 2 of another shape .*bbox_head.conv_cls.weight \(4, 16, 3, 3\) for "
        r"\(3, 16, 3, 3\).*num_classes=3, but there are 4 class names \(a, b, c, …\)"
    )
    with pytest.raises(UserError, match=match):
        MMDetDetector(config, tmp_path / "four.pth", device="cpu")


def test_a_two_stage_head_is_found():
    from mmdet.registry import MODELS

    from detdiffusion.perception.detector import _class_mismatch

    heads = [dict(type="mmdet.Shared2FCBBoxHead", num_classes=7, in_channels=8, fc_out_channels=8)] * 2
    two, one = torch.nn.Module(), torch.nn.Module()
    for model, head in ((two, torch.nn.ModuleList(map(MODELS.build, heads))), (one, MODELS.build(heads[0]))):
        model.rpn_head, model.roi_head = torch.nn.Module(), torch.nn.Module()
        model.rpn_head.num_classes, model.roi_head.bbox_head = 1, head
        assert not _class_mismatch(model, "abcdefg") and "num_classes=7" in _class_mismatch(model, "abc")
    assert not _class_mismatch(torch.nn.Module(), "abc")


def test_another_model_and_weights_that_are_not_finite(detector, detector_files, tmp_path):
    config, state = detector_files / "config.py", detector.model.state_dict()
    meta = dict(dataset_meta=dict(classes=CLASSES))
    save({f"unet.{name}": value for name, value in state.items()}, tmp_path / "other.pth", meta)
    with pytest.raises(
        UserError, match=r"other.pth does not fit the model: \d+ tensors missing .* \d+ unknown"
    ):
        MMDetDetector(config, tmp_path / "other.pth", device="cpu")
    for name in (
        "backbone.layer2.0.bn1.running_var",
        "bbox_head.conv_cls.bias",
        "neck.lateral_convs.0.conv.weight",
    ):
        spoilt = dict(state, **{name: state[name].clone()})
        spoilt[name].view(-1)[0] = float("nan")
        save(spoilt, tmp_path / "nan.pth", meta)
        with pytest.raises(UserError, match=f"nan.pth: 1 of .* not finite: {name} .1 NaN"):
            MMDetDetector(config, tmp_path / "nan.pth", device="cpu")


def test_a_detector_of_other_classes_is_an_error(detector_files, tmp_path):
    data = json.loads((detector_files / "ann.json").read_text())
    for category in data["categories"]:
        category["name"] += " cell"
    (tmp_path / "cells.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="none of the detector's 3 classes"):
        extract(
            [tmp_path / "cells.json"],
            tmp_path / "a.json",
            detector=(str(detector_files / "config.py"), str(detector_files / "det.pth")),
            img_dir=detector_files / "images",
            device="cpu",
        )
