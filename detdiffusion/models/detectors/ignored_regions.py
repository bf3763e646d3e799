"""mmdet's assigners with ignored regions that count as nothing: neither as objects nor as background.

mmdet leaves out every prior of which a region covers more than ``ignore_iof_thr``. That is too little and too much: the
anchor that a small region would win stays background (20 px cover 39 % of an anchor of 32 px), and an object under a
region loses its positives. Here regions compete as if they were objects, what they win is left out of the loss (-1 in
``gt_inds``), and so is background of which a region covers more than ``ignore_iof_thr``. What objects win, they keep.

In a config, ``type='detdiffusion.ATSSAssigner'`` or ``'detdiffusion.MaxIoUAssigner'`` in place of mmdet's.
"""

from __future__ import annotations

import inspect

import torch
from mmdet.models.task_modules import assigners
from mmengine.structures import InstanceData

from detdiffusion.registry import TASK_UTILS


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
