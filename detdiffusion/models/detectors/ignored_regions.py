"""mmdet's assigners, and FCOS's head, with ignored regions that count as nothing: neither as objects nor as background.

mmdet leaves out every prior of which a region covers more than ``ignore_iof_thr``. That is too little and too much: the
anchor that a small region would win stays background (20 px cover 39 % of an anchor of 32 px), and an object under a
region loses its positives. Here regions compete as if they were objects, what they win is left out of the loss (-1 in
``gt_inds``), and so is background of which a region covers more than ``ignore_iof_thr``. What objects win, they keep.

FCOS has no assigner, and mmdet's head does not read regions at all. Here the points in a region that are no object's
are left out of its loss.

In a config, ``type='detdiffusion.ATSSAssigner'``, ``'detdiffusion.MaxIoUAssigner'`` or ``'detdiffusion.FCOSHead'`` in
place of mmdet's.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from mmdet.models import dense_heads
from mmdet.models.task_modules import assigners
from mmengine.structures import InstanceData

from detdiffusion.registry import MODELS, TASK_UTILS

_NOTHING = -1e4
"""A logit without a loss as background, by focal loss or binary cross-entropy; finite in half precision."""


def region_boxes(regions: Sequence[InstanceData | None] | None, like: torch.Tensor) -> list[torch.Tensor]:
    """Return the boxes of each image's regions, (N, 4) xyxy in px; none for None and for what has no boxes.

    Args:
        regions: of each image; None for a batch without any, of which an empty list is returned.
        like: of the type and the device of the boxes.
    """
    boxes = [one.bboxes if one is not None and len(one) else like.new_zeros(0, 4) for one in regions or ()]
    return [getattr(one, "tensor", one) for one in boxes]


class _IgnoresRegions:
    """Mixin of an assigner, see the module. Not for assigners whose result has more than an index for each prior."""

    def __init__(self, *args, ignore_iof_thr: float = 0.5, **kwargs) -> None:
        super().__init__(*args, ignore_iof_thr=ignore_iof_thr, **kwargs)

    def assign(self, *args, **kwargs) -> assigners.AssignResult:
        """Assign priors to objects, see mmdet's class; ``gt_instances_ignore`` are the regions."""
        assign = super().assign
        bound = inspect.signature(assign).bind(*args, **kwargs)
        objects, regions = (bound.arguments.get(name) for name in ("gt_instances", "gt_instances_ignore"))
        if regions is None or len(regions) == 0:
            return assign(*args, **kwargs)
        count = len(regions)
        labels = objects.labels.new_zeros(count)  # of no use: what regions win has no label
        # regions first: where mmdet gives an object its best prior although it is bad, the last one wins
        bound.arguments["gt_instances"] = InstanceData(
            bboxes=torch.cat([regions.bboxes, objects.bboxes]), labels=torch.cat([labels, objects.labels])
        )
        bound.arguments["gt_instances_ignore"] = None
        result = assign(*bound.args, **bound.kwargs)
        priors = bound.arguments["pred_instances"].priors[:, :4]
        covered = self.iou_calculator(priors, regions.bboxes, mode="iof").amax(dim=1) > self.ignore_iof_thr
        won = (result.gt_inds > 0) & (result.gt_inds <= count)
        left_out = won | (covered & (result.gt_inds == 0))
        result.gt_inds = torch.where(result.gt_inds > count, result.gt_inds - count, result.gt_inds)
        result.gt_inds[left_out] = result.labels[left_out] = -1
        result.num_gts = len(objects)
        return result


@TASK_UTILS.register_module()
class ATSSAssigner(_IgnoresRegions, assigners.ATSSAssigner):
    """mmdet's ``ATSSAssigner`` that ignores regions of any size, see :mod:`.ignored_regions`.

    Args:
        ignore_iof_thr: share of a prior that a region must cover, so that it is not background.
    """


@TASK_UTILS.register_module()
class MaxIoUAssigner(_IgnoresRegions, assigners.MaxIoUAssigner):
    """mmdet's ``MaxIoUAssigner`` that ignores regions of any size, see :mod:`.ignored_regions`.

    Args:
        ignore_iof_thr: share of a prior that a region must cover, so that it is not background.
    """


@MODELS.register_module()
class FCOSHead(dense_heads.FCOSHead):
    """mmdet's ``FCOSHead`` that leaves background in ignored regions out of the loss, see :mod:`.ignored_regions`.

    For losses by sigmoid, as FCOS has them.

    Attributes:
        ignores_regions: that it does, for :class:`~detdiffusion.engine.MixingRatioHook`.
    """

    ignores_regions = True

    def loss_by_feat(
        self,
        cls_scores: Sequence[torch.Tensor],
        bbox_preds: Sequence[torch.Tensor],
        centernesses: Sequence[torch.Tensor],
        batch_gt_instances: Sequence[InstanceData],
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: Sequence[InstanceData] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the losses, see mmdet's class.

        Args:
            cls_scores: (B, classes, H, W) float logits of each level.
            bbox_preds: (B, 4, H, W) float of each level.
            centernesses: (B, 1, H, W) float of each level.
            batch_gt_instances: objects of each image.
            batch_img_metas: facts of each image.
            batch_gt_instances_ignore: regions of each image, ``bboxes`` (N, 4) xyxy in px, or None.
        """
        regions = region_boxes(batch_gt_instances_ignore, bbox_preds[0])
        if any(map(len, regions)):
            points = self.prior_generator.grid_priors(
                [scores.shape[-2:] for scores in cls_scores], bbox_preds[0].dtype, bbox_preds[0].device
            )
            labels, _ = self.get_targets(points, batch_gt_instances)
            cls_scores = [
                _without(scores, of_level, places, regions, self.num_classes)
                for scores, of_level, places in zip(cls_scores, labels, points, strict=True)
            ]
        return super().loss_by_feat(
            cls_scores,
            bbox_preds,
            centernesses,
            batch_gt_instances,
            batch_img_metas,
            batch_gt_instances_ignore,
        )


def _without(
    scores: torch.Tensor,
    labels: torch.Tensor,
    points: torch.Tensor,
    regions: Sequence[torch.Tensor],
    background: int,
) -> torch.Tensor:
    """Return the logits of a level, those of background in a region without loss and gradient.

    Args:
        scores: (B, classes, H, W) float.
        labels: (B * H * W,) int64.
        points: (H * W, 2) float xy in px.
        regions: (N, 4) float xyxy in px, for each image.
        background: the label of background.
    """
    x, y = points[:, None, 0], points[:, None, 1]
    inside = [
        ((x > box[:, 0]) & (y > box[:, 1]) & (x < box[:, 2]) & (y < box[:, 3])).any(dim=1) for box in regions
    ]
    left_out = torch.cat(inside) & (labels == background)
    return scores.masked_fill(left_out.reshape(len(scores), 1, *scores.shape[-2:]), _NOTHING)
