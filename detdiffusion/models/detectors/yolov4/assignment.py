"""Assignment of objects to cells and anchors, by darknet's rule.

An object is assigned to the cell that contains its centre, at the anchor whose shape has the highest IoU with
the object's shape, and at every other anchor whose IoU is above ``iou_thresh`` (0.213 in yolov4.cfg; 1 disables
these additional anchors). IoUs of shapes are computed with aligned centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Positives(NamedTuple):
    """P pairs of an object and a prediction slot (anchor and cell); a slot may occur more than once.

    Attributes:
        images, slots, rows, columns: (P,) int64 indices of the image, of the anchor within the level, and of the cell.
        boxes: (P, 4) xyxy boxes of the objects.
        labels: (P,) int64 labels of the objects.
    """

    images: Tensor
    slots: Tensor
    rows: Tensor
    columns: Tensor
    boxes: Tensor
    labels: Tensor


def shape_iou(sizes_G2: Tensor, anchors_N2: Tensor) -> Tensor:
    """Return the (G, N) IoU of widths and heights with aligned centres."""
    inner = torch.minimum(sizes_G2[:, None], anchors_N2[None]).prod(dim=-1)
    return inner / (sizes_G2.prod(dim=1)[:, None] + anchors_N2.prod(dim=1)[None] - inner).clamp(min=1e-9)


def assign(
    anchors_N2: Tensor,
    mask: Sequence[int],
    iou_thresh: float,
    stride: int,
    cells: tuple[int, int],
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
) -> Positives:
    """Return the positives of one level.

    Args:
        anchors_N2: all anchors of the network, (w, h) in pixels.
        mask: indices of the level's anchors.
        iou_thresh: IoU above which further anchors are positive; see the module's docstring.
        stride: size of a cell in pixels.
        cells: number of rows and columns of the level.
        boxes: for each image, (G, 4) xyxy in pixels.
        labels: for each image, (G,) int64.
    """
    images = torch.cat([torch.full((len(b),), i, device=b.device) for i, b in enumerate(boxes)])
    boxes, labels = torch.cat(list(boxes)).float(), torch.cat(list(labels))
    overlap = shape_iou(boxes[:, 2:] - boxes[:, :2], anchors_N2.to(boxes))
    chosen = overlap > iou_thresh
    chosen[torch.arange(len(boxes), device=boxes.device), overlap.argmax(dim=1)] = True
    objects, slots = chosen[:, list(mask)].nonzero(as_tuple=True)
    boxes = boxes[objects]
    cell = ((boxes[:, :2] + boxes[:, 2:]) / (2 * stride)).long()
    rows, columns = cell[:, 1].clamp(0, cells[0] - 1), cell[:, 0].clamp(0, cells[1] - 1)
    return Positives(images[objects].long(), slots, rows, columns, boxes, labels[objects])
