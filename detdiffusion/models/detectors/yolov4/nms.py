"""Darknet's suppression: every class for itself, by IoU or by DIoU."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms as iou_nms

from detdiffusion.utils.errors import UserError

KINDS = ("nms", "diou")


def suppress(boxes_N4: Tensor, scores_N: Tensor, labels_N: Tensor, kind: str, iou_threshold: float) -> Tensor:
    """Greedy suppression within each class.

    A batched call would shift classes apart by large offsets, which costs float32 digits of the overlaps.

    Args:
        boxes_N4: xyxy.
        scores_N: scores.
        labels_N: int64 classes.
        kind: ``nms``: a box falls if its IoU with a better one is above the threshold (``do_nms_sort``, what
            darknet's Python interface calls); ``diou``: IoU minus ``(d² / c²) ** 0.6``, with the distance d of
            the centres and the diagonal c of the box around both (``nms_kind=greedynms`` of a .cfg, what
            ``darknet detector`` calls).
        iou_threshold: of the overlap.

    Returns:
        (K,) int64 indices of what stays, by falling score.

    Raises:
        UserError: an unknown kind.
    """
    if kind not in KINDS:
        raise UserError(f"test_cfg.nms: type={kind!r} is not known; there are {', '.join(KINDS)}")
    one = iou_nms if kind == "nms" else diou_nms
    kept = []
    for label in labels_N.unique().tolist():
        of_class = (labels_N == label).nonzero()[:, 0]
        kept.append(of_class[one(boxes_N4[of_class], scores_N[of_class], iou_threshold)])
    kept = torch.cat(kept) if kept else labels_N.new_zeros(0)
    return kept[scores_N[kept].argsort(descending=True, stable=True)]


def diou_nms(boxes_N4: Tensor, scores_N: Tensor, threshold: float) -> Tensor:
    """Suppression of one class by darknet's DIoU; arguments and result as :func:`torchvision.ops.nms`."""
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
