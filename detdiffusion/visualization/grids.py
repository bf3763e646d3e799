"""Side-by-side pictures of layouts: the real image and one image of each synthetic set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.image_reading import read_rgb
from detdiffusion.utils.colours import class_colour
from detdiffusion.utils.errors import UserError

from .overlays import DrawnObject, draw_objects

MOST_LABELS = 8
"""Objects of a picture that are labelled; more labels would cover it."""


@dataclass
class Row:
    """One layout.

    Attributes:
        layout: id of the source image.
        caption: class names of the prompted objects.
        images: pictures with boxes by name of the set, ``real`` first.
        legend: RGB colours by class name, where the boxes have no labels.
    """

    layout: int
    caption: str
    images: dict[str, Image.Image]
    legend: dict[str, tuple[int, int, int]] = field(default_factory=dict)


def side_by_side(
    real: str | Path,
    real_images: str | Path,
    sets: Mapping[str, str | Path],
    count: int = 12,
    width: int = 256,
) -> list[Row]:
    """Draw the first layouts that all sets have, in the order of the source file, without any selection.

    Boxes of the prompted things of the source file are drawn; stuff regions are left out. Boxes are labelled with their
    class, and ``hard`` objects are marked by ``!``. Layouts of more than :data:`MOST_LABELS` objects have thin boxes
    without labels, and a legend.

    Args:
        real: COCO json of the source images.
        real_images: their folder.
        sets: folders written by ``tools/generate.py``, by name.
        count: maximum number of layouts.
        width: width of the pictures in pixels; their aspect ratios are kept.

    Raises:
        UserError: a file is missing or damaged, or no layout is in every set.
    """
    source = read_coco(real)
    names = {category["id"]: category["name"] for category in source.categories}
    colours = {key: class_colour(index) for index, key in enumerate(names)}
    originals = {annotation["id"]: annotation for annotation in source.annotations}
    loaded = {name: _by_layout(Path(folder)) for name, folder in sets.items()}
    layouts = [image for image in source.images if all(image["id"] in found for found in loaded.values())]
    if not layouts:
        raise UserError(f"the sets {', '.join(sets)} have no layout of {real} in common")

    def drawn(annotation: dict, attribute: str | None) -> DrawnObject:
        x, y, w, h = annotation["bbox"]
        key = annotation["category_id"]
        mark = " !" if attribute == "hard" else ""
        return DrawnObject((x, y, x + w, y + h), names[key] + mark, colours[key])

    rows = []
    for image in layouts[:count]:
        first = next(iter(loaded.values()))[image["id"]][1]
        prompted = [originals[a["source_annotation_id"]] for a in first if a["category_id"] in names]
        pictures = {"real": (Path(real_images) / image["file_name"], [drawn(a, None) for a in prompted])}
        for name, found in loaded.items():
            path, annotations = found[image["id"]]
            boxes = [drawn(a, a.get("attribute")) for a in annotations if a["category_id"] in names]
            pictures[name] = (path, boxes)
        counts = Counter(names[a["category_id"]] for a in prompted)
        caption = ", ".join(f"{name} × {n}" if n > 1 else name for name, n in counts.items())
        few = max(len(boxes) for _, boxes in pictures.values()) <= MOST_LABELS
        opened = {name: _picture(path, boxes, width, few) for name, (path, boxes) in pictures.items()}
        shown = {a["category_id"]: names[a["category_id"]] for a in prompted}
        legend = {} if few else {name: colours[key] for key, name in shown.items()}
        rows.append(Row(image["id"], caption, opened, legend))
    return rows


def _picture(path: Path, boxes: Sequence[DrawnObject], width: int, labels: bool) -> Image.Image:
    """Open an image, scale it to a width and draw boxes."""
    image = read_rgb(path)
    if not labels:
        boxes = [replace(box, text="") for box in boxes]
    return draw_objects(image, boxes, width / image.width, line=2 if labels else 1)


def contact_sheet(rows: Sequence[Row], gap: int = 6, header: int = 18) -> Image.Image:
    """Arrange all rows in one picture, with the names of the sets above the columns."""
    names = list(rows[0].images)
    width = max(image.width for row in rows for image in row.images.values())
    height = max(image.height for row in rows for image in row.images.values())
    size = (len(names) * (width + gap) - gap, header + len(rows) * (height + gap) - gap)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(names):
        draw.text((column * (width + gap) + 2, 3), name, fill=(0, 0, 0), font=ImageFont.load_default())
        for index, row in enumerate(rows):
            sheet.paste(row.images[name], (column * (width + gap), header + index * (height + gap)))
    return sheet


def _by_layout(folder: Path) -> dict[int, tuple[Path, list[dict]]]:
    """Return path and annotations, without ignored regions, of the first sample, by source image id."""
    data = read_coco(folder / "annotations.json")
    annotations: dict[int, list[dict]] = {image["id"]: [] for image in data.images}
    for annotation in data.annotations:
        if not annotation["iscrowd"]:
            annotations[annotation["image_id"]].append(annotation)
    found: dict[int, tuple[Path, list[dict]]] = {}
    for image in data.images:
        path = folder / "images" / image["file_name"]
        found.setdefault(image["source_image_id"], (path, annotations[image["id"]]))
    return found
