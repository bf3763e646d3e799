"""Rasterised boxes: fallback masks, and GeoDiffusion's foreground weights."""

from __future__ import annotations

import torch
from mmengine.logging import print_log
from torch import Tensor

from detdiffusion.structures.layout import Layout

_warned = False


def boxes_to_masks(boxes: Tensor, h: int, w: int) -> Tensor:
    """Rasterise boxes to masks: a cell is inside if its centre is; a box without cell centres gets the cell it is in.

    Args:
        boxes: (N, 4) xyxy in [0, 1].
        h: rows of the masks.
        w: columns of the masks.

    Returns:
        (N, h, w) bool; every mask has at least one cell.
    """
    rows = _spans(boxes[:, 1], boxes[:, 3], h)
    columns = _spans(boxes[:, 0], boxes[:, 2], w)
    return rows[:, :, None] & columns[:, None, :]


def _spans(low: Tensor, high: Tensor, size: int) -> Tensor:
    centres = (torch.arange(size, device=low.device) + 0.5) / size
    inside = (centres >= low[:, None]) & (centres < high[:, None])
    middle = ((low + high) / 2 * size).long().clamp(0, size - 1)
    fallback = torch.arange(size, device=low.device) == middle[:, None]
    return inside | (fallback & ~inside.any(1, keepdim=True))


def object_masks(layouts: list[Layout], h: int, w: int) -> list[Tensor]:
    """Return the layouts' masks, or box rectangles for layouts without masks, with one warning per process.

    Args:
        layouts: one per sample.
        h: rows of a fallback mask, e.g. the image's height.
        w: columns of a fallback mask.

    Returns:
        One (N_i, H, W) bool tensor per sample.
    """
    global _warned
    if not _warned and any(layout.masks is None and len(layout) for layout in layouts):
        first = next(layout for layout in layouts if layout.masks is None and len(layout))
        print_log(
            f"perception-aware loss: image {first.image_id} has no masks; box rectangles are used for all "
            "objects without a mask",
            logger="current",
            level=30,  # logging.WARNING
        )
        _warned = True
    return [
        boxes_to_masks(layout.boxes, h, w) if layout.masks is None else layout.masks for layout in layouts
    ]


def foreground_weights(
    boxes: list[Tensor], h: int, w: int, weight: float = 2.0, power: float = 0.2
) -> Tensor:
    """Return GeoDiffusion's loss weights per cell (https://arxiv.org/abs/2306.04607 and its public code).

    The weight of a box of a x b cells is ``weight * ((a + 1)(b + 1)) ** -power``, that of the background
    ``(h * w) ** -power``; box edges are rounded to cells, later boxes overwrite earlier ones, and each sample is
    scaled to a mean of 1.

    Args:
        boxes: one (N_i, 4) tensor per sample, xyxy in [0, 1].
        h: latent rows.
        w: latent columns.
        weight: factor of the foreground.
        power: exponent of the areas.

    Returns:
        (B, 1, h, w) float32 > 0 on the boxes' device, with mean 1 for each sample.
    """
    device = boxes[0].device
    # Padding boxes are empty (0, 0, 0, 0) and cover no cell.
    padded = torch.nn.utils.rnn.pad_sequence([b.float().reshape(-1, 4) for b in boxes], batch_first=True)
    cells = torch.round(padded * torch.tensor([w, h, w, h], dtype=torch.float32, device=device))
    x1, y1, x2, y2 = cells.unbind(-1)  # (B, M)
    column, row = torch.arange(w, device=device), torch.arange(h, device=device)
    in_x = (column >= x1[..., None]) & (column < x2[..., None])
    in_y = (row >= y1[..., None]) & (row < y2[..., None])
    inside = in_y[..., :, None] & in_x[..., None, :]  # (B, M, h, w)
    order = torch.arange(1, padded.shape[1] + 1, device=device)[:, None, None]
    background = torch.full((len(boxes), 1), float(h * w) ** -power, device=device)
    values = torch.cat((background, weight * ((y2 - y1 + 1) * (x2 - x1 + 1)) ** -power), dim=1)
    top = (
        (inside * order).amax(1) if padded.shape[1] else inside.new_zeros(len(boxes), h, w, dtype=torch.long)
    )
    weights = values.gather(1, top.flatten(1)).reshape(-1, 1, h, w)
    return weights / weights.mean((1, 2, 3), keepdim=True)
