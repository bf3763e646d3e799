"""YOLOv4 beside OpenCV's darknet reader, darknet's files read and written, its assignment, losses and NMS."""

import struct

import cv2
import numpy as np
import pytest
import torch

from benchmarks.yolov4_parity import compare, random_weights, within
from detdiffusion.models.detectors import DarknetLetterbox, YOLOv4
from detdiffusion.models.detectors.yolov4.assignment import assign, shape_iou
from detdiffusion.models.detectors.yolov4.cfg import parse_cfg, read_cfg
from detdiffusion.models.detectors.yolov4.nms import diou_nms, suppress
from detdiffusion.models.detectors.yolov4.presets import preset
from detdiffusion.models.detectors.yolov4.weights import Header, read_weights, write_weights
from detdiffusion.utils.errors import UserError

needs_darknet_reader = pytest.mark.skipif(
    not hasattr(cv2.dnn, "readNetFromDarknet"),
    reason=f"OpenCV {cv2.__version__} has no readNetFromDarknet; OpenCV 4 has",
)
# Every layer kind in one small network: groups, dilation, uneven pooling, scaled logistic coordinates.
SMALL = """
[net]
width=64
height=64
channels=3
[convolutional] # comment
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=mish
[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
groups=4
activation=leaky
[maxpool]
size=2
stride=1
[convolutional]
batch_normalize=1
filters=16
size=1
stride=1
pad=1
activation=swish
[shortcut]
from=-3
activation=linear
[route]
layers=-1
groups=2
group_id=1
[maxpool]
size=2
stride=2
[convolutional]
filters=16
size=3
stride=1
pad=1
activation=relu
[upsample]
stride=2
[route]
layers=-1, 5
[convolutional]
filters=16
size=1
stride=1
pad=1
activation=linear
[yolo]
mask=0,1
anchors=6,8, 12,10, 30,24
classes=3
num=3
scale_x_y=1.2
iou_thresh=0.213
ignore_thresh=.7
[route]
layers=-6
[convolutional]
size=1
stride=1
pad=1
filters=8
activation=logistic
[yolo]
mask=2
anchors=6,8, 12,10, 30,24
classes=3
num=3
new_coords=1
scale_x_y=2.0
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.cfg"
    path.write_text(SMALL)
    return path


def filled(cfg, seed=0, **kwargs):
    model = YOLOv4(cfg=cfg, **kwargs)
    random_weights(model, seed)
    return model


@needs_darknet_reader
def test_every_layer_kind_equals_opencv(small):
    for size in (64, 96):
        result = compare(small, size)
        assert within(result), result
        assert result["layers"]["compared"] == 13


@needs_darknet_reader
@pytest.mark.parametrize("name, layers", [("yolov4", 159), ("yolov4-tiny", 36)])
def test_darknets_networks_equal_opencv(name, layers, shared_dir):
    result = compare(shared_dir / "data" / f"{name}.cfg", 128)
    assert within(result), result
    assert result["layers"]["compared"] == layers and result["boxes"]["ours"] > 20


@pytest.mark.parametrize("name, parameters", [("yolov4", 64363101), ("yolov4-tiny", 6056606)])
def test_built_in_networks_are_darknets(name, parameters, shared_dir):
    theirs, ours = read_cfg(shared_dir / "data" / f"{name}.cfg"), preset(name)

    def meaning(cfg):
        for i, section in enumerate(cfg.layers):
            options = dict(section.options)
            for key in {"layers", "from"} & options.keys():
                options[key] = cfg.sources(i, key)
            for key in {"anchors", "mask", "ignore_thresh", "scale_x_y", "iou_thresh"} & options.keys():
                options[key] = section.numbers(key)
            # of darknet's training and drawing, or a default that is spelt out
            rest = ("jitter", "truth_thresh", "cls_normalizer", "iou_normalizer", "iou_loss", "nms_kind")
            for key in (*rest, "beta_nms", "max_delta", "random", "resize"):
                options.pop(key, None)
            yield section.kind, options

    assert list(meaning(theirs)) == list(meaning(ours))
    with torch.device("meta"):
        assert sum(p.numel() for p in YOLOv4(cfg=name).parameters()) == parameters
    assert list(meaning(parse_cfg(ours.to_text()))) == list(meaning(ours))


@pytest.mark.parametrize(
    "change, message",
    [
        (("[upsample]", "[reorg3d]"), r"line 47: \[reorg3d\] is not supported; supported: convolutional"),
        (("activation=swish", "activation=selu"), "activation=selu is not supported"),
        (("layers=-6", "layers=40"), "layer 12: 'layers=40' must name layers before it"),
        (("from=-3", "from=-4"), r"adds layers of \[16, 8\] channels"),
        (("layers=-1, 5", "layers=-1, 6"), "layer 9: its inputs have different sizes"),
        (("groups=4", "groups=3"), "groups=3 must divide"),
        (("group_id=1", "group_id=2"), "do not fit"),
        (("classes=3", "classes=4"), "has filters=16; 2 anchors and 4 classes take 18"),
        (("mask=2", "mask=3"), "mask=3 does not fit its 3 anchors"),
        (("activation=logistic", "activation=linear"), "new_coords=1 has activation=linear"),
        (("stride=2\npad=1\nactivation=mish", "stride=x"), "'stride' must be a whole number, got 'x'"),
        (("filters=8\nsize=3", "antialiasing=1\nfilters=8\nsize=3"), "antialiasing=1 is not supported"),
        (("[net]", "[network.json]"), "not a darknet network file"),
        (("[net]", "hello"), "neither .section. nor key=value"),
        (("[yolo]", "[maxpool]"), "not followed by any .yolo."),
    ],
)
def test_broken_network_files(change, message, tmp_path):
    (tmp_path / "bad.cfg").write_text(SMALL.replace(*change))
    with pytest.raises(UserError, match=message):
        YOLOv4(cfg=str(tmp_path / "bad.cfg"))


def test_unknown_networks(tmp_path):
    with pytest.raises(UserError, match="no such darknet network file"):
        YOLOv4(cfg=str(tmp_path / "none.cfg"))
    with pytest.raises(UserError, match="no built-in network 'yolov5'"):
        YOLOv4(cfg=dict(arch="yolov5"))
    with pytest.raises(UserError, match="9 anchors"):
        YOLOv4(cfg=dict(arch="yolov4", anchors=[(1, 2)]))
    with pytest.raises(UserError, match="unexpected keyword argument 'layers'"):
        YOLOv4(cfg=dict(arch="yolov4", layers=3))


@pytest.mark.parametrize("version", [(0, 2, 5), (0, 1, 0)])
def test_weights_round_trip(small, tmp_path, version):
    model, copy = filled(str(small)), YOLOv4(cfg=str(small))
    header = Header(version, seen=32013312 if version == (0, 1, 0) else 2**40 + 7)
    write_weights(tmp_path / "a.weights", model.darknet_convolutions(), header)
    assert read_weights(tmp_path / "a.weights", copy.darknet_convolutions()) == header
    for name, value in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, copy.state_dict()[name]), name
    write_weights(tmp_path / "b.weights", copy.darknet_convolutions(), header)
    assert (tmp_path / "a.weights").read_bytes() == (tmp_path / "b.weights").read_bytes()
    # the layout as darknet's parser.c has it: beta, gamma, mean, variance, kernel
    values = np.frombuffer((tmp_path / "a.weights").read_bytes()[20 if version[1] == 2 else 16 :], "<f4")
    first = model.backbone.layers[0]
    expected = [
        first.bn.bias,
        first.bn.weight,
        first.bn.running_mean,
        first.bn.running_var,
        first.conv.weight,
    ]
    expected = torch.cat([t.detach().flatten() for t in expected]).numpy()
    np.testing.assert_array_equal(values[: len(expected)], expected)


def test_weights_that_do_not_fit(small, tmp_path):
    model = filled(str(small))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    path = tmp_path / "a.weights"
    write_weights(path, model.darknet_convolutions())
    whole = path.read_bytes()

    def error_of(data):
        path.write_bytes(data)
        with pytest.raises(UserError) as caught:
            read_weights(path, model.darknet_convolutions())
        return str(caught.value)

    first, total = 8 * 4 + 8 * 27, (len(whole) - 20) // 4
    short = error_of(whole[: 20 + 4 * (first + 10)])
    assert (
        f"{first + 10} values of {total:,}, 1 of 6 convolutions (the last complete one is layer 0)" in short
    )
    assert "none is complete" in error_of(whole[:60])
    assert "3 more than its 6 convolutions have" in error_of(whole + b"\0" * 12)
    assert "truncated" in error_of(whole[:-2])
    assert "too few for the header" in error_of(whole[:18]) and "too few" in error_of(b"")
    assert "not a darknet weights file: its header gives version" in error_of(b"<!DOCTYPE html><html>.....")
    assert "2 values are not finite, the first in layer 0" in error_of(
        whole[:20] + struct.pack("<2f", np.nan, np.inf) + whole[28:]
    )
    with pytest.raises(UserError, match="no such darknet weights file"):
        read_weights(tmp_path / "none.weights", model.darknet_convolutions())
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())  # untouched by bad files


def test_assignment():
    anchors = torch.tensor([[10.0, 10.0], [20.0, 20.0], [80.0, 20.0]])
    assert shape_iou(torch.tensor([[10.0, 20.0]]), anchors)[0].tolist() == pytest.approx([0.5, 0.5, 1 / 8])
    boxes = [
        torch.tensor([[30.0, 44.0, 42.0, 56.0]]),
        torch.zeros(0, 4),
        torch.tensor([[56.0, 56.0, 64.0, 64.0]]),
    ]
    labels = [torch.tensor([4]), torch.zeros(0, dtype=torch.long), torch.tensor([1])]
    # 12 x 12: IoU 100/144 and 144/400 pass 0.213, 144/(1600 + 144 - ...) does not
    found = assign(anchors, (0, 1), 0.213, 8, (8, 8), boxes, labels)
    assert found.images.tolist() == [0, 0, 2] and found.slots.tolist() == [0, 1, 0]
    assert found.rows.tolist() == [6, 6, 7] and found.columns.tolist() == [4, 4, 7]
    assert found.labels.tolist() == [4, 4, 1]
    # only the best where the threshold is 1, and none on a level without it
    assert assign(anchors, (0, 1), 1.0, 8, (8, 8), boxes, labels).slots.tolist() == [0, 0]
    assert len(assign(anchors, (2,), 1.0, 8, (8, 8), boxes, labels).labels) == 0


def samples(*objects, size=64):
    """Data samples of one image for each list of (x1, y1, x2, y2, label)."""
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    made = []
    for rows in objects:
        rows = torch.tensor(rows, dtype=torch.float).reshape(-1, 5)
        sample = DetDataSample(gt_instances=InstanceData(bboxes=rows[:, :4], labels=rows[:, 4].long()))
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
        sample.set_metainfo(dict(img_shape=(size, size), ori_shape=(size, size), scale_factor=(1.0, 1.0)))
        made.append(sample)
    return made


def test_perfect_outputs_have_no_loss(small):
    """Raw outputs that say exactly what is there: every loss is near 0; wrong ones are not."""
    model = YOLOv4(cfg=str(small))
    head = model.bbox_head
    truth = samples([(20, 20, 32, 30, 2)])
    instances, metas = [truth[0].gt_instances], [truth[0].metainfo]
    maps = []
    for level in head.levels:
        raw = torch.zeros(1, len(level.mask), 8, 64 // level.stride, 64 // level.stride)
        raw[:, :, 4:] = -20.0
        found = assign(
            level.all_anchors, level.mask, level.iou_thresh, level.stride, raw.shape[3:], [instances[0].bboxes],
            [instances[0].labels],
        )  # fmt: skip
        for slot, row, column in zip(found.slots, found.rows, found.columns):
            at = raw[0, slot, :, row, column]
            offset = torch.tensor([26.0 / level.stride - column, 25.0 / level.stride - row])
            at[:2] = torch.logit((offset + (level.scale_x_y - 1) / 2) / level.scale_x_y)
            ratio = torch.tensor([12.0, 10.0]) / level.anchors_A2[slot]
            at[2:4] = torch.logit(ratio.sqrt() / 2) if level.new_coords else ratio.log()
            at[4], at[7] = 20.0, 20.0
        maps.append(raw.flatten(1, 2))
    losses = head.loss_by_feat(maps, instances, metas)
    assert all(float(value) < 1e-4 for value in losses.values()), losses
    result = head.predict_by_feat(maps, metas, rescale=True)[0]
    assert result.labels.tolist() == [2]
    torch.testing.assert_close(result.bboxes, torch.tensor([[20.0, 20.0, 32.0, 30.0]]), atol=1e-3, rtol=0)
    missed = head.loss_by_feat([torch.full_like(m, -20.0) for m in maps], instances, metas)
    assert float(missed["loss_obj"]) > 10 and float(missed["loss_cls"]) > 10


def test_empty_images_reach_every_parameter(small):
    model = filled(str(small))
    model.train()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for truth in (samples([], []), samples([(4, 4, 20, 30, 1), (4, 4, 20, 30, 0)], [])):
        model.zero_grad()
        losses = model.loss(images, truth)
        assert all(torch.isfinite(value) for value in losses.values())
        sum(losses.values()).backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_overlapping_predictions_are_not_pushed_down(small):
    head = YOLOv4(cfg=str(small)).bbox_head
    level = head.levels[0]
    raw = torch.zeros(1, 2, 16, 16, 8)
    boxes = level.decode(raw)
    inside = torch.tensor([[30.0, 30.0, 36.0, 38.0]])
    overlapping = level.ignore_thresh < 0.9
    weight = head._not_ignored(level, raw, boxes, [boxes[0, 0, 5, 5][None]])
    assert overlapping and weight[0, 0, 5, 5] == 0 and weight.sum() == weight.numel() - 1
    raw[..., 5:] = -5  # names no class: darknet pushes it down
    assert head._not_ignored(level, raw, boxes, [inside]).all()


def test_suppression():
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 5.0], [100, 100, 110, 110]])
    scores, labels = torch.tensor([0.5, 0.9, 0.8, 0.7]), torch.tensor([0, 0, 0, 0])
    assert suppress(boxes, scores, labels, "nms", 0.6).tolist() == [1, 2, 3]
    assert suppress(boxes, scores, labels, "nms", 0.5).tolist() == [1, 3]
    assert suppress(boxes, scores, torch.tensor([1, 0, 2, 0]), "nms", 0.5).tolist() == [1, 2, 3, 0]
    # IoU of the first two 0.9; DIoU takes (0.5² / 200) ** 0.6 off: 0.882
    assert diou_nms(boxes[:2], scores[:2], 0.89).tolist() == [1, 0]
    assert diou_nms(boxes[:2], scores[:2], 0.87).tolist() == [1]
    assert suppress(boxes[:0], scores[:0], labels[:0], "diou", 0.5).tolist() == []
    with pytest.raises(UserError, match="unknown type='soft_nms'"):
        suppress(boxes, scores, labels, "soft_nms", 0.5)


def test_letterbox(small):
    image = np.full((50, 100, 3), 255, np.uint8)
    result = DarknetLetterbox(scale=(64, 64)).transform(dict(img=image))
    assert result["img"].shape == (64, 64, 3) and result["letterbox"] == (0.0, 16.0)
    assert (result["img"][:16] == 127.5).all() and (result["img"][16:48] == 255).all()
    model = filled(str(small), test_cfg=dict(score_thr=0.05, clip_border=False))
    with torch.no_grad():
        maps = model(torch.rand(1, 3, 64, 64))[0]
    meta = dict(scale_factor=result["scale_factor"], ori_shape=(50, 100), img_shape=(64, 64))
    cfg = dict(nms=dict(type="nms", iou_threshold=0.45))
    inside = model.bbox_head.predict_by_feat(maps, [meta], cfg)[0].bboxes
    back = model.bbox_head.predict_by_feat(
        maps, [{**meta, "letterbox": result["letterbox"]}], cfg, rescale=True
    )[0].bboxes
    expected = (inside - torch.tensor([0.0, 16.0, 0.0, 16.0])) / 0.64
    assert len(back) and sorted(back[:, 0].tolist()) == pytest.approx(
        sorted(expected[:, 0].tolist()), abs=1e-3
    )
    assert sorted(back[:, 3].tolist()) == pytest.approx(sorted(expected[:, 3].tolist()), abs=1e-3)
