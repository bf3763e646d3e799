"""Which cells and anchors answer for an object: darknet's rule.

An object belongs to the cell of its centre, at the anchor whose shape overlaps its own best, and at every
other anchor whose overlap is above ``iou_thresh`` (0.213 in yolov4.cfg; 1 switches it off). Shapes are
compared with equal centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Positives(NamedTuple):
    """P pairs of an object and a place; a place may occur more than once.

    Attributes:
        images, slots, rows, columns: (P,) int64: image, anchor of the level, cell.
        boxes: (P, 4) xyxy of the object.
        labels: (P,) int64 of the object.
    """

    images: Tensor
    slots: Tensor
    rows: Tensor
    columns: Tensor
    boxes: Tensor
    labels: Tensor


def shape_iou(sizes_G2: Tensor, anchors_N2: Tensor) -> Tensor:
    """IoU of widths and heights with equal centres, (G, N)."""
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
    """The positives of one level.

    Args:
        anchors_N2: all of the network, (w, h) in pixels.
        mask: those of the level.
        iou_thresh: see above.
        stride: pixels of a cell.
        cells: rows and columns of the level.
        boxes: of each image, (G, 4) xyxy in pixels.
        labels: of each image, (G,) int64.
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
