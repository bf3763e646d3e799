"""Pictures of generated images with the boxes of their layouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image

from detdiffusion.structures import GeneratedImages, Layout
from detdiffusion.utils.colours import class_colour

from .grids import Row, contact_sheet
from .overlays import DrawnObject, draw_objects

_SIDE = 256  # longer side in pixels that small images are enlarged to


def draw_layout(image: Image.Image, layout: Layout, scale: float | None = None) -> Image.Image:
    """Draw a layout's boxes on an image; ``hard`` objects are marked by ``!``.

    Args:
        image: image of any size.
        layout: its objects; a class has the same colour in all its objects.
        scale: scale factor of the picture; default: a whole number that makes a small image 256 pixels large.
    """
    scale = _scale(image) if scale is None else scale
    colours = {name: class_colour(index) for index, name in enumerate(dict.fromkeys(layout.names))}
    objects = []
    for box, name, attribute in zip(
        layout.boxes.tolist(), layout.names, layout.attributes or [None] * len(layout)
    ):
        pixels = tuple(value * side for value, side in zip(box, (image.width, image.height) * 2))
        objects.append(DrawnObject(pixels, name + (" !" if attribute == "hard" else ""), colours[name]))
    return draw_objects(image, objects, scale)


def layout_sheet(
    columns: Mapping[str, tuple[Sequence[Layout], GeneratedImages]], boxes: bool = True
) -> Image.Image:
    """Arrange images of the same layouts, one row per layout, with the names of the columns above them.

    Args:
        columns: layouts and their images by name of the column.
        boxes: draw the boxes of the objects that were in the prompts.
    """
    rows = []
    for index in range(len(next(iter(columns.values()))[0])):
        pictures = {}
        for name, (layouts, result) in columns.items():
            chosen = layouts[index].select(result["kept"][index] if boxes else [])
            pictures[name] = draw_layout(result.images[index], chosen)
        caption = ", ".join(next(iter(columns.values()))[0][index].names)
        rows.append(Row(index, caption, pictures))
    return contact_sheet(rows)


def _scale(image: Image.Image) -> int:
    return max(1, round(_SIDE / max(image.size)))
