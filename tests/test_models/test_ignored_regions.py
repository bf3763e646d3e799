"""Ignored regions: the priors or points that would show them as objects are left out of the loss, and no others."""

import subprocess
import sys

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from detdiffusion.models.detectors import ATSSAssigner, FCOSHead, MaxIoUAssigner
from detdiffusion.utils import compat
from detdiffusion.utils.config import load_config

compat.setup()
OPTIONS = {
    "atss": (ATSSAssigner, dict(topk=9)),
    "max-iou": (MaxIoUAssigner, dict(pos_iou_thr=0.5, neg_iou_thr=0.3, min_pos_iou=0.3)),
}
OBJECTS = [[8.0, 8, 40, 40], [60, 50, 90, 80]]
SMALL = [[70.0, 8, 84, 22]]
"""A region that covers a fifth of an anchor."""


def instances(boxes):
    boxes = torch.tensor(boxes).reshape(-1, 4)
    return InstanceData(bboxes=boxes, labels=torch.arange(len(boxes)))


def arguments(name, boxes, regions):
    """Square anchors of 16 and 32 px at strides of 8 and 16, and the instances, as dense heads pass them."""
    levels = []
    for size, stride in ((16, 8), (32, 16)):
        centres = torch.cartesian_prod(*[torch.arange(0, 96, stride).float()] * 2)
        levels.append(torch.cat([centres - size / 2, centres + size / 2], dim=1))
    sizes = [[len(level) for level in levels]] if name == "atss" else []
    ignored = None if regions is None else instances(regions)
    return InstanceData(priors=torch.cat(levels)), *sizes, instances(boxes), ignored


def build(name, **changes):
    """Our assigner and mmdet's."""
    ours, options = OPTIONS[name]
    return ours(**{**options, **changes}), ours.__mro__[2](**options)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_region_takes_what_it_would_get_as_an_object(name):
    ours, stock = build(name)
    found = ours.assign(*arguments(name, OBJECTS, SMALL))
    labelled = stock.assign(*arguments(name, SMALL + OBJECTS, None))
    won = labelled.gt_inds == 1
    assert won.any() and (found.gt_inds[won] == -1).all() and (found.labels[won] == -1).all()
    rest = labelled.gt_inds[~won]
    assert torch.equal(found.gt_inds[~won], torch.where(rest > 1, rest - 1, rest)) and found.num_gts == 2
    assert set(found.gt_inds.tolist()) >= {0, 1, 2}
    assert (found.labels[found.gt_inds == 2] == 1).all()


@pytest.mark.parametrize("name", OPTIONS)
def test_nothing_changes_without_regions(name):
    ours, stock = build(name)
    for regions in (None, []):
        found = ours.assign(*arguments(name, OBJECTS, regions))
        plain = stock.assign(*arguments(name, OBJECTS, None))
        assert torch.equal(found.gt_inds, plain.gt_inds) and torch.equal(found.labels, plain.labels)
        assert torch.equal(found.max_overlaps, plain.max_overlaps)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_crowd_leaves_no_background_in_it_and_objects_keep_theirs(name):
    """mmdet's own takes the positives of an object under a region away."""
    crowd, under = [[0.0, 0, 90, 90]], [[8.0, 8, 40, 40]]
    ours, stock = build(name)
    found = ours.assign(*arguments(name, under, crowd))
    priors = arguments(name, under, crowd)[0].priors
    inside = ((priors[:, :2] >= 0) & (priors[:, 2:] <= 90)).all(dim=1)
    assert (found.gt_inds[inside] != 0).all() and (found.gt_inds == 1).any()
    stock.ignore_iof_thr = 0.5
    assert not (stock.assign(*arguments(name, under, crowd)).gt_inds == 1).any()


def test_an_object_keeps_its_best_prior_beside_a_region_that_wants_it():
    """RPN's rule of the best prior, however bad, gives it to the last one; objects come after regions."""
    found = build("max-iou", pos_iou_thr=0.9)[0].assign(
        *arguments("max-iou", [[10.0, 10, 34, 34]], [[8.0, 8, 40, 40]])
    )
    assert (found.gt_inds == 1).any()


@pytest.mark.parametrize("name", OPTIONS)
def test_an_image_of_regions_alone_has_no_objects(name):
    found = build(name)[0].assign(*arguments(name, [], SMALL))
    assert found.num_gts == 0 and set(found.gt_inds.tolist()) == {0, -1} and (found.labels == -1).all()


def test_mmdet_leaves_a_small_region_as_background():
    """The reason for these classes: `ignore_iof_thr` asks how much of an anchor a region covers."""
    stock = build("atss")[1]
    stock.ignore_iof_thr = 0.8
    assert (stock.assign(*arguments("atss", OBJECTS, SMALL)).gt_inds >= 0).all()


@pytest.mark.parametrize("learner", ["atss", "faster-rcnn", "fcos"])
def test_the_loss_of_the_small_detectors(learner, repo_root):
    """A region takes priors out of the loss, and a detector's answer there has no gradient."""
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample

    config = load_config(str(repo_root / f"configs/trainability/{learner}_real_miniscenes.py"))
    init_default_scope("mmdet")
    torch.manual_seed(0)
    model = MODELS.build(config.model).train()
    image = torch.rand(1, 3, 96, 96)

    def losses(regions):
        sample = DetDataSample(
            metainfo=dict(img_shape=(96, 96), pad_shape=(96, 96), batch_input_shape=(96, 96))
        )
        sample.gt_instances, sample.ignored_instances = instances(OBJECTS), instances(regions)
        torch.manual_seed(0)
        found = model.loss(image, [sample])
        return {name: sum(map(float, v)) if isinstance(v, list) else float(v) for name, v in found.items()}

    without, with_region = losses([]), losses(SMALL)
    cls, box = ("loss_rpn_cls", "loss_rpn_bbox") if learner == "faster-rcnn" else ("loss_cls", "loss_bbox")
    if learner != "faster-rcnn":
        assert with_region[cls] < without[cls]  # a sum over fewer priors, divided by as many positives
    assert with_region[cls] != without[cls] and with_region[box] == pytest.approx(without[box])


def fcos_losses(head, scores, regions):
    """Losses of an 80 px image of two levels and one object; the logits' gradients."""
    ranges = ((-1, 24), (24, 1e8))
    head = head(
        num_classes=2, in_channels=4, feat_channels=4, strides=[8, 16], regress_ranges=ranges, norm_cfg=None
    )
    scores = [level.clone().requires_grad_() for level in scores]
    zeros = [torch.zeros(1, 1, *level.shape[-2:]) for level in scores]
    objects = InstanceData(bboxes=torch.tensor([[8.0, 8, 40, 40]]), labels=torch.tensor([1]))
    ignored = None if regions is None else [instances(regions)]
    losses = head.loss_by_feat(
        scores, [z.expand(-1, 4, -1, -1) for z in zeros], zeros, [objects], [{}], ignored
    )
    losses["loss_cls"].backward()
    return losses, torch.cat([level.grad.flatten(2) for level in scores], dim=2)[0]


def test_fcos_learns_nothing_from_background_in_a_region():
    """Of all points only those in the region, but not the object's, leave the loss: the sum of the focal losses of the
    others, by torchvision."""
    from mmdet.models.dense_heads import FCOSHead as Stock
    from torchvision.ops import sigmoid_focal_loss

    torch.manual_seed(0)
    scores = [torch.randn(1, 2, size, size) for size in (10, 5)]
    region = [[20.0, 20, 61, 77]]
    _, plain = fcos_losses(Stock, scores, region)
    losses, grad = fcos_losses(FCOSHead, scores, region)
    centres = torch.cat(
        [
            torch.cartesian_prod(*[torch.arange(n) * stride + stride / 2] * 2).flip(1)
            for n, stride in ((10, 8), (5, 16))
        ]
    )
    x, y = centres.T
    inside = (x > 20) & (y > 20) & (x < 61) & (y < 77)
    positive = plain[1] < 0  # of its class, the loss wants a higher logit
    left_out = inside & ~positive
    assert left_out.any() and (inside & positive).any() and (~inside & positive).any()
    assert (grad[:, left_out] == 0).all() and torch.equal(grad[:, ~left_out], plain[:, ~left_out])
    target = torch.stack([torch.zeros_like(x), positive.float()])
    logits = torch.cat([level.flatten(2) for level in scores], dim=2)[0]
    expected = sigmoid_focal_loss(logits, target)[:, ~left_out].sum() / positive.sum()
    assert float(losses["loss_cls"]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("first", [None, InstanceData(), instances([])], ids=["none", "empty", "no boxes"])
def test_fcos_keeps_the_images_of_a_batch_apart(first):
    """A region of the second image changes nothing of the first."""
    head = FCOSHead(
        num_classes=2, in_channels=4, feat_channels=4, strides=[8], regress_ranges=((-1, 1e8),), norm_cfg=None
    )
    torch.manual_seed(0)
    scores = torch.randn(2, 2, 4, 6, requires_grad=True)  # 32 px high, 48 px wide
    zeros = torch.zeros(2, 1, 4, 6)
    objects = [InstanceData(bboxes=torch.tensor([[8.0, 8, 24, 24]]), labels=torch.tensor([0]))] * 2
    regions = [first, instances([[31.0, 0, 48, 17]])]
    losses = head.loss_by_feat([scores], [zeros.expand(-1, 4, -1, -1)], [zeros], objects, [{}, {}], regions)
    losses["loss_cls"].backward()
    left_out = (scores.grad == 0).all(dim=1)
    assert not left_out[0].any()
    assert left_out[1].nonzero().tolist() == [[y, x] for y in (0, 1) for x in (4, 5)]


@pytest.mark.parametrize("regions", [None, []])
def test_fcos_is_as_before_without_regions(regions):
    from mmdet.models.dense_heads import FCOSHead as Stock

    torch.manual_seed(0)
    scores = [torch.randn(1, 2, size, size) for size in (10, 5)]
    ours, stock = (fcos_losses(head, scores, regions) for head in (FCOSHead, Stock))
    assert ours[0] == stock[0] and torch.equal(ours[1], stock[1])


def test_a_name_of_ours_needs_no_import():
    """A config that names the head or YOLOv4 has no `custom_imports` for them; a generator's does without mmdet."""
    code = (
        "import sys; from detdiffusion.registry import MODELS; MODELS.get('DetDiffusion');"
        "assert 'mmdet' not in sys.modules;"
        "assert MODELS.get('detdiffusion.FCOSHead').ignores_regions"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
