"""Ignored regions: the priors that would show them as objects are left out of the loss, and no others."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from detdiffusion.models.detectors import ATSSAssigner, MaxIoUAssigner
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


@pytest.mark.parametrize("learner", ["atss", "faster-rcnn"])
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
    cls = "loss_cls" if learner == "atss" else "loss_rpn_cls"
    box = "loss_bbox" if learner == "atss" else "loss_rpn_bbox"
    if learner == "atss":
        assert with_region[cls] < without[cls]  # a sum over fewer priors, divided by as many positives
    assert with_region[cls] != without[cls] and with_region[box] == pytest.approx(without[box])
