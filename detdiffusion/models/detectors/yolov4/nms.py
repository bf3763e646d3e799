"""Darknet's non-maximum suppression: within each class, by IoU or DIoU."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms as iou_nms

from detdiffusion.utils.errors import UserError

KINDS = ("nms", "diou")


def suppress(boxes_N4: Tensor, scores_N: Tensor, labels_N: Tensor, kind: str, iou_threshold: float) -> Tensor:
    """Apply greedy non-maximum suppression within each class.

    Runs class by class: torchvision's ``batched_nms`` separates classes by large coordinate offsets, which would
    reduce the float32 precision of the IoUs.

    Args:
        boxes_N4: xyxy.
        scores_N: scores.
        labels_N: int64 classes.
        kind: ``nms``: a box is suppressed if its IoU with a box of higher score is above the threshold
            (``do_nms_sort``, called by darknet's Python interface); ``diou``: the same for IoU minus
            ``(d² / c²) ** 0.6``, where d is the distance of the centres and c the diagonal of the smallest box
            around both (``nms_kind=greedynms`` in a .cfg, called by ``darknet detector``).
        iou_threshold: overlap above which boxes are suppressed.

    Returns:
        (K,) int64 indices of the remaining boxes, by descending score.

    Raises:
        UserError: ``kind`` is unknown.
    """
    if kind not in KINDS:
        raise UserError(f"test_cfg.nms: unknown type={kind!r}; choose one of {', '.join(KINDS)}")
    class_nms = iou_nms if kind == "nms" else diou_nms
    kept = []
    for label in labels_N.unique().tolist():
        of_class = (labels_N == label).nonzero()[:, 0]
        kept.append(of_class[class_nms(boxes_N4[of_class], scores_N[of_class], iou_threshold)])
    kept = torch.cat(kept) if kept else labels_N.new_zeros(0)
    return kept[scores_N[kept].argsort(descending=True, stable=True)]


def diou_nms(boxes_N4: Tensor, scores_N: Tensor, threshold: float) -> Tensor:
    """Suppress boxes of one class by darknet's DIoU; arguments and result as :func:`torchvision.ops.nms`."""
    order = scores_N.argsort(descending=True, stable=True)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[_diou(boxes_N4[best], boxes_N4[order]) <= threshold]
    return torch.stack(kept) if kept else order


def _diou(box_4: Tensor, others_N4: Tensor) -> Tensor:
    inner = (torch.minimum(box_4[2:], others_N4[:, 2:]) - torch.maximum(box_4[:2], others_N4[:, :2])).clamp(0)
    outer = torch.maximum(box_4[2:], others_N4[:, 2:]) - torch.minimum(box_4[:2], others_N4[:, :2])
    overlap = inner.prod(dim=1)
    union = (box_4[2:] - box_4[:2]).prod() + (others_N4[:, 2:] - others_N4[:, :2]).prod(dim=1) - overlap
    centre = (others_N4[:, 2:] + others_N4[:, :2] - box_4[2:] - box_4[:2]) / 2
    share = centre.square().sum(dim=1) / outer.square().sum(dim=1).clamp(min=1e-12)
    return overlap / union.clamp(min=1e-12) - share.pow(0.6)
