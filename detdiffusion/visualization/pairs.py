"""Pictures of pairs of images, one above the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from detdiffusion.datasets.image_reading import read_rgb

_GAP = 4


def draw_pairs(files: Sequence[tuple[str | Path, str | Path]], side: int = 128) -> Image.Image:
    """Draw pairs in a row, the first image of each pair above the second.

    Args:
        files: pairs of image files; at least one.
        side: side in pixels of the square that an image is fitted into.
    """
    sheet = Image.new("RGB", (len(files) * (side + _GAP) - _GAP, 2 * side + _GAP), "white")
    for column, pair in enumerate(files):
        for row, path in enumerate(pair):
            picture = ImageOps.contain(read_rgb(path), (side, side), Image.Resampling.BICUBIC)
            sheet.paste(picture, (column * (side + _GAP), row * (side + _GAP)))
    return sheet
