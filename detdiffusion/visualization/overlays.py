"""Drawing of objects on images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont


@dataclass(frozen=True)
class DrawnObject:
    """One box to draw.

    Attributes:
        box: x1, y1, x2, y2 in pixels of the image before scaling.
        text: label at its upper left corner; may be empty.
        colour: RGB, 0 to 255.
        mask: (H, W) bool at the image's size, tinted in ``mask_colour`` (default: ``colour``); may be None.
    """

    box: tuple[float, float, float, float]
    text: str
    colour: tuple[int, int, int]
    mask: np.ndarray | None = None
    mask_colour: tuple[int, int, int] | None = None


def draw_objects(
    image: Image.Image, objects: Sequence[DrawnObject], scale: float = 4, line: int = 2
) -> Image.Image:
    """Scale an image (enlarged without smoothing by whole factors) and draw the objects' masks, boxes and labels on it.

    Args:
        image: image of any mode; not modified.
        objects: objects to draw, in order; the last one is on top.
        scale: scale factor.
        line: width of the boxes' lines in pixels.

    Returns:
        RGB image, ``scale`` times as wide and high.
    """
    image = _tinted(image.convert("RGB"), objects)
    enlarged = Image.Resampling.NEAREST if float(scale).is_integer() else Image.Resampling.BICUBIC
    resampling = enlarged if scale >= 1 else Image.Resampling.BOX
    image = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), resampling
    )
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default()
    for item in objects:
        x1, y1, x2, y2 = (round(value * scale) for value in item.box)
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=item.colour, width=line)
    for item in objects:
        if not item.text:
            continue
        width, height = (round(v) for v in draw.textbbox((0, 0), item.text, font=font)[2:])
        x = min(max(0, round(item.box[0] * scale)), max(0, image.width - width - 4))
        y = min(max(0, round(item.box[1] * scale) - height - 2), image.height - height - 2)
        draw.rectangle((x, y, x + width + 3, y + height + 1), fill=item.colour)
        draw.text((x + 2, y), item.text, fill=(0, 0, 0), font=font)
    return image


def _tinted(image: Image.Image, objects: Sequence[DrawnObject], strength: float = 0.45) -> Image.Image:
    if all(item.mask is None for item in objects):
        return image
    pixels = np.asarray(image).astype(np.float32)
    for item in objects:
        if item.mask is not None:
            colour = np.float32(item.mask_colour or item.colour)
            pixels[item.mask] = (1 - strength) * pixels[item.mask] + strength * colour
    return Image.fromarray(pixels.round().astype(np.uint8))
