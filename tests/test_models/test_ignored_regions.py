"""Ignored regions: the priors that would show them as objects are left out of the loss, and no others."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from detdiffusion.models.detectors import IgnoredRegionsAssigner
from detdiffusion.utils import compat
from detdiffusion.utils.config import load_config

compat.setup()
INNER = {
    "atss": dict(type="ATSSAssigner", topk=9),
    "max-iou": dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.3, min_pos_iou=0.3),
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


@pytest.mark.parametrize("name", INNER)
def test_a_region_takes_what_it_would_get_as_an_object(name):
    assigner = IgnoredRegionsAssigner(INNER[name])
    found = assigner.assign(*arguments(name, OBJECTS, SMALL))
    labelled = assigner.assigner.assign(*arguments(name, OBJECTS + SMALL, None))
    won = labelled.gt_inds == 3
    assert won.any() and (found.gt_inds[won] == -1).all() and (found.labels[won] == -1).all()
    assert torch.equal(found.gt_inds[~won], labelled.gt_inds[~won]) and found.num_gts == 2
    assert set(found.gt_inds.tolist()) >= {0, 1, 2}


@pytest.mark.parametrize("name", INNER)
def test_nothing_changes_without_regions(name):
    assigner = IgnoredRegionsAssigner(INNER[name])
    for regions in (None, []):
        found = assigner.assign(*arguments(name, OBJECTS, regions))
        stock = assigner.assigner.assign(*arguments(name, OBJECTS, None))
        assert torch.equal(found.gt_inds, stock.gt_inds) and torch.equal(found.labels, stock.labels)
        assert torch.equal(found.max_overlaps, stock.max_overlaps)


@pytest.mark.parametrize("name", INNER)
def test_an_image_of_regions_alone_has_no_objects(name):
    found = IgnoredRegionsAssigner(INNER[name]).assign(*arguments(name, [], SMALL))
    assert found.num_gts == 0 and set(found.gt_inds.tolist()) == {0, -1} and (found.labels == -1).all()


def test_mmdet_leaves_a_small_region_as_background():
    """The reason for this class: `ignore_iof_thr` asks how much of an anchor a region covers."""
    stock = IgnoredRegionsAssigner(dict(type="ATSSAssigner", topk=9, ignore_iof_thr=0.8)).assigner
    found = stock.assign(*arguments("atss", OBJECTS, SMALL))
    assert (found.gt_inds >= 0).all()


def test_assigners_that_get_no_regions_say_so():
    costs = [dict(type="FocalLossCost", weight=2.0)]
    hungarian = dict(type="HungarianAssigner", match_costs=costs)
    assert not IgnoredRegionsAssigner(hungarian).ignores_regions
    assert IgnoredRegionsAssigner(INNER["atss"]).ignores_regions


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
