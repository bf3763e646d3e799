"""mmcv's operators on torchvision: against plain NumPy, finite differences and three tiny detectors."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from detdiffusion.utils import compat, mmcv_ops
from detdiffusion.utils.errors import UserError

COMPILED = compat.setup()

from mmcv import ops  # noqa: E402  (needs compat.setup)


def _boxes(count, seed, size=60.0):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, size, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(2, size / 2, (count, 2))], 1).astype(np.float32)


def _iou(a, b, offset=0):
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    inter = max(width, 0) * max(height, 0)
    area = [(c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b)]
    return inter / (area[0] + area[1] - inter)


def _numpy_nms(boxes, scores, threshold, offset=0):
    kept = []
    for i in np.argsort(-scores):
        if all(
            _iou(boxes[i].astype(np.float64), boxes[k].astype(np.float64), offset) <= threshold for k in kept
        ):
            kept.append(int(i))
    return kept


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_nms_matches_numpy(threshold, offset):
    boxes, scores = _boxes(80, 0), np.random.default_rng(1).permutation(80).astype(np.float32) / 80
    dets, kept = ops.nms(boxes, scores, threshold, offset=offset)
    assert kept.tolist() == _numpy_nms(boxes, scores, threshold, offset)
    np.testing.assert_array_equal(dets[:, :4], boxes[kept])
    np.testing.assert_array_equal(dets[:, 4], scores[kept])


def test_nms_filters_by_score_and_count_and_takes_half_precision():
    boxes, scores = torch.tensor(_boxes(50, 2)), torch.rand(50, generator=torch.Generator().manual_seed(0))
    _, kept = ops.nms(boxes, scores, 0.5, score_threshold=0.4, max_num=5)
    assert len(kept) == 5 and bool((scores[kept] > 0.4).all())
    assert len(mmcv_ops.nms(boxes.half(), scores.half(), 0.5)) > 0
    assert ops.nms(boxes[:0], scores[:0], 0.5)[1].shape == (0,)


def test_nms_acts_per_class():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [1, 0, 11, 10]])
    scores, classes = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([0, 1, 0])
    _, kept = ops.batched_nms(boxes, scores, classes, dict(type="nms", iou_threshold=0.5))
    assert kept.tolist() == [0, 1]
    _, kept = ops.batched_nms(
        boxes, scores, classes, dict(type="nms", iou_threshold=0.5, class_agnostic=True)
    )
    assert kept.tolist() == [0]


@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms_matches_numpy(method):
    boxes, scores = _boxes(40, 3), np.random.default_rng(4).permutation(40).astype(np.float32) / 40
    left, expected, lowered = list(range(40)), [], scores.astype(np.float64)
    while left:
        best = max(left, key=lambda i: lowered[i])
        expected.append((best, lowered[best]))
        left.remove(best)
        for i in left:
            iou = _iou(boxes[best].astype(np.float64), boxes[i].astype(np.float64))
            if method == "gaussian":
                lowered[i] *= np.exp(-(iou**2) / 0.5)
            elif iou >= 0.3:
                lowered[i] *= 1 - iou if method == "linear" else 0
        left = [i for i in left if lowered[i] >= 1e-3]
    dets, kept = ops.soft_nms(boxes, scores, iou_threshold=0.3, sigma=0.5, min_score=1e-3, method=method)
    assert kept.tolist() == [i for i, _ in expected]
    np.testing.assert_allclose(dets[:, 4], [s for _, s in expected], rtol=1e-4)
    np.testing.assert_array_equal(dets[:, :4], boxes[kept])


@pytest.mark.parametrize("offset", [0, 1])
def test_bbox_overlaps_matches_numpy(offset):
    a, b = _boxes(7, 5), _boxes(9, 6)
    expected = [[_iou(x, y, offset) for y in b] for x in a]
    result = ops.bbox_overlaps(torch.tensor(a), torch.tensor(b), offset=offset)
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    aligned = ops.bbox_overlaps(torch.tensor(a), torch.tensor(b[:7]), aligned=True, offset=offset)
    np.testing.assert_allclose(aligned, np.diag(np.array(expected)[:, :7]), rtol=1e-5)
    part = ops.bbox_overlaps(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([[0.0, 0, 2, 4]]), mode="iof")
    assert part.item() == 0.5


def _numpy_roi_align(features, rois, size, scale, ratio, aligned):
    """RoIAlign as its paper says: the mean of bilinear samples on a regular grid in each bin."""
    _, channels, height, width = features.shape

    def sample(image, y, x):
        if y < -1 or y > height or x < -1 or x > width:
            return np.zeros(channels)
        y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
        y0, x0 = int(y), int(x)
        y1, x1, fy, fx = min(y0 + 1, height - 1), min(x0 + 1, width - 1), y - int(y), x - int(x)
        top = image[:, y0, x0] * (1 - fx) + image[:, y0, x1] * fx
        return top * (1 - fy) + (image[:, y1, x0] * (1 - fx) + image[:, y1, x1] * fx) * fy

    out = np.zeros((len(rois), channels, size, size))
    for r, (batch, x1, y1, x2, y2) in enumerate(rois):
        shift = 0.5 if aligned else 0.0
        x1, y1, x2, y2 = (v * scale - shift for v in (x1, y1, x2, y2))
        w, h = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
        ny, nx = (ratio or int(np.ceil(h / size))), (ratio or int(np.ceil(w / size)))
        for i in range(size):
            for j in range(size):
                total = np.zeros(channels)
                for a in range(ny):
                    for b in range(nx):
                        y = y1 + (i + (a + 0.5) / ny) * h / size
                        x = x1 + (j + (b + 0.5) / nx) * w / size
                        total += sample(features[int(batch)], y, x)
                out[r, :, i, j] = total / (ny * nx)
    return out


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
def test_roi_align_matches_numpy_and_gradcheck(ratio, aligned):
    rng = np.random.default_rng(7)
    features = torch.tensor(rng.normal(size=(2, 3, 9, 11)), requires_grad=True)
    boxes = _boxes(4, 8, size=30.0).astype(np.float64)
    rois = torch.tensor(np.concatenate([[[0], [1], [1], [0]], boxes], 1))
    result = ops.roi_align(features, rois, 3, 0.25, ratio, "avg", aligned)
    expected = _numpy_roi_align(features.detach().numpy(), rois.numpy(), 3, 0.25, ratio, aligned)
    np.testing.assert_allclose(result.detach(), expected, atol=1e-9)
    assert torch.autograd.gradcheck(
        lambda x: ops.roi_align(x, rois, 3, 0.25, ratio, "avg", aligned), (features,)
    )


@pytest.mark.skipif(COMPILED, reason="mmcv's compiled operators are installed")
def test_roi_align_half_precision_keeps_box_coordinates():
    features = torch.rand(1, 2, 8, 400, generator=torch.Generator().manual_seed(0)).half()
    rois = torch.tensor([[0, 3001.0, 3.0, 3011.0, 30.0]])
    full = ops.roi_align(features.float(), rois, 2, 0.125, 2)
    torch.testing.assert_close(ops.roi_align(features, rois, 2, 0.125, 2).float(), full, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_focal_loss_matches_numpy_and_gradcheck(weighted):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    target = (
        torch.tensor([0, 3, 1, 2, 2, 0]) if weighted else torch.tensor([0, 4, 3, 1, 4, 2])
    )  # 4: background
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64) if weighted else None
    p = 1 / (1 + np.exp(-logits.detach().numpy()))
    positive = np.arange(4) == target.numpy()[:, None]
    expected = np.where(positive, -0.25 * (1 - p) ** 2 * np.log(p), -0.75 * p**2 * np.log(1 - p))
    if weighted:
        expected = expected * weight.numpy()[target.numpy()][:, None]
    result = ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, "none")
    np.testing.assert_allclose(result.detach(), expected, rtol=1e-9)
    mean = ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, "mean")
    assert mean.item() == pytest.approx(expected.sum() / 6)
    assert torch.autograd.gradcheck(lambda x: ops.sigmoid_focal_loss(x, target, 2.0, 0.25, weight), (logits,))


def test_focal_loss_is_finite_at_extreme_logits():
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.tensor([0]), 2.0, 0.25)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


@pytest.mark.skipif(COMPILED, reason="mmcv's compiled operators are installed")
def test_other_operators_raise_with_the_install_command():
    with pytest.raises(UserError, match="softmax_focal_loss_forward.*MMCV_WITH_OPS=1 pip install"):
        ops.softmax_focal_loss(torch.randn(2, 3), torch.tensor([0, 1]))
    with pytest.raises(UserError, match="pool_mode='max'"):
        ops.roi_align(torch.zeros(1, 1, 4, 4), torch.tensor([[0, 0.0, 0, 2, 2]]), 2, 1.0, 0, "max")


def test_setup_is_idempotent_and_says_so_once():
    code = (
        "import detdiffusion\nfrom detdiffusion.utils import compat\n"
        "print(compat.setup(), compat.setup())\nimport mmcv.ops"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == [str(COMPILED)] * 2
    assert result.stderr.count("torchvision's are used instead") == (0 if COMPILED else 1)


BACKBONE = dict(type="ResNet", depth=18, num_stages=4, out_indices=(0, 1, 2, 3), base_channels=4)
PREPROCESSOR = dict(type="DetDataPreprocessor", mean=[0.0] * 3, std=[255.0] * 3, pad_size_divisor=32)
NECK = dict(type="FPN", in_channels=[4, 8, 16, 32], out_channels=16, num_outs=5, add_extra_convs="on_output")
STRIDES = [4, 8, 16, 32, 64]
DELTA = dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2])
NMS = dict(type="nms", iou_threshold=0.5)
DENSE_TEST = dict(nms_pre=50, min_bbox_size=0, score_thr=0.0, nms=NMS, max_per_img=20)
FOCAL = dict(type="FocalLoss", use_sigmoid=True, loss_weight=1.0)
ANCHORS = dict(
    type="AnchorGenerator", ratios=[1.0], octave_base_scale=4, scales_per_octave=1, strides=STRIDES
)


def _faster_rcnn():
    assigner = dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.3)
    return dict(
        type="FasterRCNN",
        rpn_head=dict(
            type="RPNHead",
            in_channels=16,
            feat_channels=16,
            anchor_generator=dict(type="AnchorGenerator", scales=[4], ratios=[0.5, 1.0], strides=STRIDES),
            bbox_coder=DELTA,
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True),
        ),
        roi_head=dict(
            type="StandardRoIHead",
            bbox_roi_extractor=dict(
                type="SingleRoIExtractor",
                roi_layer=dict(type="RoIAlign", output_size=3, sampling_ratio=0),
                out_channels=16,
                featmap_strides=STRIDES[:4],
            ),
            bbox_head=dict(
                type="Shared2FCBBoxHead",
                in_channels=16,
                fc_out_channels=16,
                roi_feat_size=3,
                num_classes=3,
                bbox_coder=DELTA,
            ),
        ),
        train_cfg=dict(
            rpn=dict(
                assigner=assigner,
                sampler=dict(type="RandomSampler", num=32, pos_fraction=0.5),
                pos_weight=-1,
                allowed_border=-1,
            ),
            rpn_proposal=dict(nms_pre=100, max_per_img=50, nms=NMS, min_bbox_size=0),
            rcnn=dict(
                assigner=assigner, sampler=dict(type="RandomSampler", num=32, pos_fraction=0.5), pos_weight=-1
            ),
        ),
        test_cfg=dict(
            rpn=dict(nms_pre=100, max_per_img=50, nms=NMS, min_bbox_size=0),
            rcnn=dict(score_thr=0.0, nms=NMS, max_per_img=20),
        ),
    )


def _fcos():
    head = dict(
        type="FCOSHead", num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1, strides=STRIDES
    )
    return dict(type="FCOS", bbox_head=dict(head, norm_cfg=None, loss_cls=FOCAL), test_cfg=DENSE_TEST)


def _atss():
    head = dict(type="ATSSHead", num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1)
    return dict(
        type="ATSS",
        bbox_head=dict(
            head,
            norm_cfg=dict(type="GN", num_groups=4, requires_grad=True),
            anchor_generator=ANCHORS,
            bbox_coder=DELTA,
            loss_cls=FOCAL,
            loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
        ),
        train_cfg=dict(assigner=dict(type="ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1),
        test_cfg=DENSE_TEST,
    )


@pytest.mark.parametrize("detector", [_faster_rcnn, _fcos, _atss])
def test_detectors_train_and_predict(detector):
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.utils import register_all_modules
    from mmengine.config import ConfigDict
    from mmengine.structures import InstanceData

    register_all_modules(init_default_scope=True)
    torch.manual_seed(0)
    parts = dict(backbone=BACKBONE, neck=NECK, data_preprocessor=PREPROCESSOR)
    model = MODELS.build(ConfigDict(detector(), **parts))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    sample = DetDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0)))
    boxes = torch.tensor([[4.0, 4, 30, 30], [20, 24, 60, 60]])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 2]))
    batch = dict(inputs=[torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)], data_samples=[sample])

    losses = []
    for _ in range(8):
        data = model.data_preprocessor(batch, training=True)
        total, _ = model.parse_losses(model(**data, mode="loss"))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)

    model.eval()
    with torch.no_grad():
        predictions = model(**model.data_preprocessor(batch), mode="predict")[0].pred_instances
    assert 0 < len(predictions) <= 20 and predictions.bboxes.shape[1] == 4
    for label in range(3):
        same = predictions.bboxes[predictions.labels == label].numpy()
        assert all(_iou(a, b) <= 0.5 + 1e-5 for i, a in enumerate(same) for b in same[:i])
