"""Ignored regions that a detector's assigner ignores: neither shown as objects nor as background."""

from __future__ import annotations

import inspect

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.registry import TASK_UTILS as MMDET_TASK_UTILS
from mmengine.structures import InstanceData

from detdiffusion.registry import TASK_UTILS


@TASK_UTILS.register_module()
class IgnoredRegionsAssigner(BaseAssigner):
    """Any assigner of mmdet, with ignored regions that count as nothing where they would count as objects.

    mmdet ignores a prior of which a region covers more than ``ignore_iof_thr``, which no small region does: a region of
    20 px covers 39 % of an anchor of 32 px, so the anchor that would be its positive becomes background. Here regions
    compete as if they were objects, and the priors that they win are left out of the loss (-1 in ``gt_inds``). All
    other priors keep what the inner assigner gives them.

    In a config: ``assigner=dict(type='detdiffusion.IgnoredRegionsAssigner', assigner=dict(type='ATSSAssigner',
    topk=9))``.

    Args:
        assigner: config of the inner assigner, whose ``assign`` takes ``gt_instances_ignore``.
    """

    def __init__(self, assigner: dict) -> None:
        self.assigner = MMDET_TASK_UTILS.build(assigner)
        self._signature = inspect.signature(self.assigner.assign)

    @property
    def ignores_regions(self) -> bool:
        """Whether the inner assigner is given ignored regions at all; those of transformers are not."""
        return "gt_instances_ignore" in self._signature.parameters

    def assign(self, *args, **kwargs) -> AssignResult:
        """Assign priors to objects; arguments are those of the inner assigner.

        Returns:
            mmdet's result; ``num_gts`` counts the objects without the regions.
        """
        bound = self._signature.bind(*args, **kwargs)
        objects, regions = (bound.arguments.get(name) for name in ("gt_instances", "gt_instances_ignore"))
        if regions is None or len(regions) == 0:
            return self.assigner.assign(*args, **kwargs)
        bound.arguments["gt_instances"] = InstanceData(
            bboxes=torch.cat([objects.bboxes, regions.bboxes]),
            labels=torch.cat([objects.labels, objects.labels.new_zeros(len(regions))]),
        )
        result = self.assigner.assign(*bound.args, **bound.kwargs)
        won = result.gt_inds > len(objects)
        result.gt_inds[won] = -1
        result.labels[won] = -1
        result.num_gts = len(objects)
        return result
