"""Several training sizes: each image takes the one whose aspect ratio is nearest, so that it is hardly stretched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from detdiffusion.structures import Layout
from detdiffusion.utils.config_datasets import unwrapped
from detdiffusion.utils.errors import UserError

Size = tuple[int, int]


def size_list(size: Sequence[int] | Sequence[Sequence[int]]) -> list[Size]:
    """Return one or more sizes as a list of (height, width) in pixels.

    Raises:
        UserError: there is no size, a size is repeated, or a side is not a positive integer.
    """
    sizes = [size] if isinstance(size, Sequence) and size and isinstance(size[0], int) else size
    try:
        pairs = [(height, width) for height, width in sizes]
    except (TypeError, ValueError):
        pairs = []
    if (
        not pairs
        or len({*pairs}) < len(pairs)
        or not all(isinstance(s, int) and s > 0 for p in pairs for s in p)
    ):
        raise UserError(
            f"LoadLayoutImage: size must be (height, width) in pixels, or a list of different ones, got {size!r}"
        )
    return pairs


def nearest_size(width: float, height: float, sizes: Sequence[Size]) -> Size:
    """Return the (height, width) of which the aspect ratio is nearest to that of an image, on a logarithmic scale."""
    return min(sizes, key=lambda size: abs(math.log(width / height * size[0] / size[1])))


def size_of_layout(layout: Layout, sizes: Sequence[Size]) -> Size:
    """Return the size of a layout's image: the only one, or that nearest to its source.

    Raises:
        UserError: there are several, and the layout does not know the size of its source.
    """
    if len(sizes) == 1:
        return sizes[0]
    if not layout.width or not layout.height:
        raise UserError(
            f"the layout of image {layout.image_id} has no width and height, by which one of {len(sizes)} sizes is "
            "chosen; set `height` and `width` for all images"
        )
    return nearest_size(layout.width, layout.height, sizes)


def training_sizes(config: Mapping) -> list[Size]:
    """Return the sizes that a generator's config trains at; empty if its pipeline loads no images.

    Raises:
        UserError: as :func:`size_list`.
    """
    dataset = (config.get("train_dataloader") or {}).get("dataset") or {}
    for step in unwrapped(dataset).get("pipeline") or ():
        if str(step.get("type")).endswith("LoadLayoutImage"):
            return size_list(step["size"])
    return []
