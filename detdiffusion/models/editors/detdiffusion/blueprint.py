"""Blueprints: layouts drawn as class-coloured, attribute-coded shapes at latent resolution.

A blueprint has :data:`CHANNELS` channels: the class's colour, the attribute's level, and the share of a cell that is
covered. Objects are drawn from the largest to the smallest, so that small ones stay visible, and each visible part adds
its code times the share of the cell that it covers. Edges are thus known more finely than to a cell.

A colour is a function of the class name alone, not a learned embedding: classes that were not in the training set have
one, there is no table to store or to extend, and a copy of this code renders the same in an exported folder. It needs
torch only for that.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

CLASS_CHANNELS = 6
CHANNELS = CLASS_CHANNELS + 2


def class_colour(name: str) -> list[float]:
    """Return a class's code, :data:`CLASS_CHANNELS` values in [-1, 1] from a hash of its name."""
    digest = hashlib.sha256(name.replace("-", " ").encode()).digest()
    return [byte / 127.5 - 1 for byte in digest[:CLASS_CHANNELS]]


def attribute_level(attribute: str | None, words: Sequence[str]) -> float:
    """Return an attribute's code: -1 for the easiest level to 1 for the hardest, 0 for ``background`` and None.

    Args:
        attribute: one of ``words``, or None for a layout without attributes.
        words: levels from the easiest to the hardest, then ``background``.

    Raises:
        ValueError: ``attribute`` is not one of ``words``.
    """
    if attribute is None or attribute == words[-1]:
        return 0.0
    if attribute not in words:
        raise ValueError(f"attribute {attribute!r} is none of {', '.join(words)}")
    return 2 * words.index(attribute) / max(1, len(words) - 2) - 1


def object_codes(names: Sequence[str], attributes: Sequence[str | None], words: Sequence[str]) -> Tensor:
    """Return the (N, :data:`CHANNELS`) float32 codes of objects: colour, level, and 1 for the covered share."""
    rows = [[*class_colour(n), attribute_level(a, words), 1.0] for n, a in zip(names, attributes)]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, CHANNELS)


def draw_blueprint(
    codes: Tensor, boxes: Tensor, size: tuple[int, int], masks: Tensor | None = None
) -> Tensor:
    """Draw objects on a grid of cells.

    Boxes are drawn on the grid of their own edges, on which every cell is either inside or outside of a box, masks on
    the grid of their pixels; the mean over the area of a latent cell is exact for both.

    Args:
        codes: (N, C) float32.
        boxes: (N, 4) xyxy in [0, 1].
        size: rows h and columns w of the result.
        masks: (N, H, W) bool, drawn in place of the boxes; their order is still that of the boxes' areas.

    Returns:
        (C, h, w) float32 on the codes' device: the mean over each cell's area of the code of the topmost object, 0
        where there is none.
    """
    if not len(codes):
        return codes.new_zeros(codes.shape[1], *size)
    boxes = boxes.to(codes.device, torch.float64).clamp(0, 1)
    if masks is None:
        (y, rows), (x, columns) = (_own_grid(boxes[:, axis::2]) for axis in (1, 0))
        inside = rows[:, :, None] & columns[:, None, :]
    else:
        inside = masks.to(codes.device)
        y, x = (
            torch.linspace(0, 1, side + 1, dtype=torch.float64).to(codes.device) for side in masks.shape[1:]
        )
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    order = areas.argsort(descending=True, stable=True)
    ranks = torch.arange(1, len(codes) + 1, device=codes.device)[:, None, None]
    top = (inside[order] * ranks).amax(dim=0)  # 0 where no object is
    drawn = torch.cat((torch.zeros_like(codes[:1]), codes[order]))[top]
    return torch.einsum("hj,jkc,wk->chw", _shares(y, size[0]), drawn, _shares(x, size[1]))


def _own_grid(intervals: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sorted ends (J + 1,) of (N, 2) intervals, and (N, J) bool, whether a part is in an interval."""
    edges = intervals.flatten().sort().values
    low, high = intervals[:, :1], intervals[:, 1:]
    return edges, (edges[:-1] >= low) & (edges[1:] <= high)


def _shares(edges: Tensor, cells: int) -> Tensor:
    """Return (cells, J) float32, the share of each of the equal cells of [0, 1] that lies between two edges."""
    ends = torch.arange(cells + 1, dtype=torch.float64, device=edges.device) / cells
    low, high = torch.maximum(ends[:-1, None], edges[:-1]), torch.minimum(ends[1:, None], edges[1:])
    return ((high - low).clamp(min=0) * cells).float()
