"""Sheets of the images of a COCO data set, with boxes, attributes and masks of the objects."""

from __future__ import annotations

import io
import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from detdiffusion.datasets.attributes_file import AttributesFile
from detdiffusion.datasets.coco_json import merge_checked, read_coco
from detdiffusion.datasets.image_files import image_folder
from detdiffusion.datasets.image_reading import ImageError, read_image
from detdiffusion.datasets.masks import decode_segmentation
from detdiffusion.datasets.object_digests import digests_of_set
from detdiffusion.structures import ATTRIBUTES
from detdiffusion.utils.colours import class_colour
from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.shared_options import AnnotatedImages

from .browse_options import SheetOptions, ShownImages
from .overlays import DrawnObject, draw_objects

_GREY = (150, 150, 150)


def browse_dataset(
    dataset: AnnotatedImages,
    out: str | Path,
    shown: ShownImages | None = None,
    sheets: SheetOptions | None = None,
) -> list[Path]:
    """Write sheets ``sheet_001.png`` ..., and print what was read, shown and left out.

    The colour of a box depends on its attribute, from green for the easiest to red for the hardest, if there are
    attributes (from a file, or ``attribute`` of the annotations), and otherwise on its class; that of a mask depends
    on the class.

    Args:
        dataset: COCO jsons of one data set, and its images.
        out: folder of the sheets.
        shown: images and objects to show.
        sheets: number of images per sheet, and how they are drawn.

    Raises:
        UserError: a file is missing or damaged, a class or image id is unknown, or there is no image to show.
    """
    shown, sheets = shown or ShownImages(), sheets or SheetOptions()
    files = [read_coco(path) for path in dataset.files]
    for file in files:
        print(file.summary())
    images, categories, annotations = merge_checked(files)
    names = {key: category["name"] for key, category in categories.items()}
    folder = None if sheets.layouts_only else image_folder(dataset.img_dir, dataset.files[0])
    digests = digests_of_set(images, names, annotations) if shown.attributes is not None else {}
    words, palette = _attributes(shown.attributes, annotations, dataset.files, digests)
    objects = _objects_of(annotations, names, shown.classes)
    chosen = _choose(images, objects, shown)
    drawer = _TileDrawer(names, words, palette, folder, sheets)
    tiles = itertools.islice(drawer.tiles(chosen, objects), shown.count)
    written = []
    while sheet := list(itertools.islice(tiles, sheets.per_sheet)):
        written.append(_write(sheet, sheets.columns, palette, Path(out), len(written) + 1))
    for what, number in drawer.report.items():
        print(f"  {number} × {what}")
    if not written:
        raise UserError(f"{', '.join(map(str, dataset.files))}: no image to show")
    print(f"written: {', '.join(map(str, written))}")
    return written


@dataclass
class _TileDrawer:
    """Draws images with their objects.

    Attributes:
        names: category names by id.
        words: attributes by annotation id.
        palette: colours by attribute.
        folder: folder of the images; None draws on grey.
        options: how images are drawn.
        report: number of images and masks that were not shown, by reason.
    """

    names: Mapping[int, str]
    words: Mapping[int, str]
    palette: Mapping[str, tuple]
    folder: Path | None
    options: SheetOptions
    report: Counter = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.colours = {key: class_colour(index) for index, key in enumerate(sorted(self.names))}
        self.masks = not self.options.no_masks and not self.options.layouts_only

    def tiles(self, images: Iterable[dict], objects: Mapping[int, Sequence[dict]]) -> Iterator[Image.Image]:
        """Yield the tiles of the images that can be read, in order."""
        for image in images:
            picture = None
            if self.folder is not None:
                picture = _open(self.folder / image["file_name"], image, self.report)
                if picture is None:
                    continue
            drawn = [self._object(annotation, image) for annotation in objects.get(image["id"], [])]
            yield _tile(picture, image, drawn, self.options.side)

    def _object(self, annotation: Mapping, image: Mapping) -> DrawnObject:
        x, y, w, h = annotation["bbox"]
        key, mask, word = annotation["category_id"], None, self.words.get(annotation["id"])
        if self.masks and annotation.get("segmentation"):
            try:
                mask = decode_segmentation(
                    annotation["segmentation"],
                    image["height"],
                    image["width"],
                    f"annotation {annotation['id']}",
                ).astype(bool)
            except UserError as error:
                self.report[f"mask not shown: {error}"] += 1
        text = [self.names[key], *([word] if word else []), *(["crowd"] if annotation["iscrowd"] else [])]
        colour = self.colours[key]
        return DrawnObject((x, y, x + w, y + h), " ".join(text), self.palette.get(word, colour), mask, colour)


def _attributes(
    path: str | Path | None, annotations: Sequence[dict], ann_files: Sequence, digests: Mapping[int, int]
) -> tuple[dict[int, str], dict[str, tuple]]:
    """Return attributes by annotation id, and colours by attribute."""
    if path is not None:
        file = AttributesFile.read(path)
        file.check_objects(list(digests), ann_files, list(digests.values()))
        words, vocabulary = file.attributes, file.words
    else:
        words = {a["id"]: str(a["attribute"]) for a in annotations if a.get("attribute")}
        vocabulary = list(dict.fromkeys([*ATTRIBUTES, *sorted(set(words.values()))])) if words else []
    levels = [word for word in vocabulary if word != "background"]
    palette = {}
    for k, word in enumerate(levels):
        share = k / max(1, len(levels) - 1)
        palette[word] = (round(255 * min(1, 2 * share)), round(220 * min(1, 2 - 2 * share)), 40)
    return words, {**palette, **({"background": _GREY} if "background" in vocabulary else {})}


def _objects_of(annotations, names: Mapping[int, str], classes) -> dict[int, list[dict]]:
    """Return annotations by image id, largest first, so that small objects are drawn on top."""
    unknown = set(classes or ()) - set(names.values())
    if unknown:
        raise UserError(
            f"`classes`: no category {', '.join(sorted(unknown))}; it has {', '.join(names.values())}"
        )
    objects: dict[int, list[dict]] = {}
    for annotation in sorted(annotations, key=lambda a: -a["bbox"][2] * a["bbox"][3]):
        if classes is None or names[annotation["category_id"]] in classes:
            objects.setdefault(annotation["image_id"], []).append(annotation)
    return objects


def _choose(images: Mapping[int, dict], objects: Mapping[int, list], shown: ShownImages) -> list[dict]:
    if shown.image_ids is not None:
        unknown = [i for i in shown.image_ids if i not in images]
        if unknown:
            raise UserError(f"`image_ids`: no image {some(unknown, 5)} in the annotation files")
        return [images[i] for i in shown.image_ids]
    chosen = [image for key, image in images.items() if shown.classes is None or key in objects]
    if shown.seed is not None:
        random.Random(shown.seed).shuffle(chosen)
    return chosen


def _open(path: Path, image: Mapping, report: Counter) -> Image.Image | None:
    try:
        picture, conversions = read_image(path, image)
    except ImageError as error:
        report[f"image that {error.reason}: not shown; {error.remedy}"] += 1
        return None
    report.update(conversions)
    return picture


def _tile(
    picture: Image.Image | None, image: Mapping, objects: Sequence[DrawnObject], side: int
) -> Image.Image:
    if picture is None:
        picture = Image.new("RGB", (image["width"], image["height"]), (235, 235, 235))
    drawn = draw_objects(picture, objects, side / max(picture.size))
    tile = Image.new("RGB", (side, side + 14), "white")
    tile.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    caption = f"{image['id']}  {image['file_name']}  {len(objects)} objects"
    ImageDraw.Draw(tile).text((2, side + 1), caption, fill=(0, 0, 0), font=ImageFont.load_default())
    return tile


def _write(tiles: Sequence[Image.Image], columns: int, palette: Mapping, out: Path, number: int) -> Path:
    columns, gap, header = min(columns, len(tiles)), 6, 18 if palette else 0
    width, height = tiles[0].size
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, header + rows * (height + gap) - gap), "white")
    draw, x = ImageDraw.Draw(sheet), 2
    for word, colour in palette.items():
        draw.rectangle((x, 4, x + 10, 14), fill=colour)
        draw.text((x + 14, 3), word, fill=(0, 0, 0), font=ImageFont.load_default())
        x += 24 + round(draw.textlength(word, font=ImageFont.load_default()))
    for k, tile in enumerate(tiles):
        sheet.paste(tile, (k % columns * (width + gap), header + k // columns * (height + gap)))
    buffer = io.BytesIO()
    sheet.save(buffer, format="png")
    path = out / f"sheet_{number:03d}.png"
    write_atomic(path, buffer.getvalue())
    return path
