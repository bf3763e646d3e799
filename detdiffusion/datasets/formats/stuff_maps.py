"""Conversion of stuff pixel maps (one PNG per image, whose pixel values are classes) to a COCO stuff json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_utils

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.coco_tables import MAX_ID
from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.files import write_atomic

from .input_files import LABELS, InputFiles, fold, stem_of, suffix_of

_NO_IMAGE = "maps without an image: left out"
FIRST_STUFF_ID = 92
_LARGEST_VALUE = 2**16 - 1  # largest pixel value
# The labels of COCO-Stuff (https://github.com/nightrome/cocostuff), ids from 92 to 182.
STUFF_NAMES = (
    "banner blanket branch bridge building-other bush cabinet cage cardboard carpet ceiling-other ceiling-tile cloth "
    "clothes clouds counter cupboard curtain desk-stuff dirt door-stuff fence floor-marble floor-other floor-stone "
    "floor-tile floor-wood flower fog food-other fruit furniture-other grass gravel ground-other hill house leaves "
    "light mat metal mirror-stuff moss mountain mud napkin net paper pavement pillow plant-other plastic platform "
    "playingfield railing railroad river road rock roof rug salad sand sea shelf sky-other skyscraper snow "
    "solid-other stairs stone straw structural-other table tent textile-other towel tree vegetable wall-brick "
    "wall-concrete wall-other wall-panel wall-stone wall-tile wall-wood water-other waterdrops window-blind "
    "window-other wood"
).split()


def coco_stuff_categories() -> list[dict]:
    """Return COCO-Stuff's 91 stuff classes as category dicts."""
    return [
        dict(id=FIRST_STUFF_ID + i, name=name, supercategory="stuff") for i, name in enumerate(STUFF_NAMES)
    ]


def regions(labels: np.ndarray, wanted: Iterable[int]) -> list[dict]:
    """Convert a label map to one annotation per class, in the format of COCO's stuff json.

    Args:
        labels: (H, W) uint8 or uint16 category ids.
        wanted: category ids to convert, from 0 to 65535.

    Returns:
        Dicts with ``category_id``, ``segmentation`` (compressed RLE), ``area`` in pixels, ``bbox`` (x, y, w, h) and
        ``iscrowd`` 0, in ascending order of category.
    """
    found = []
    for category in sorted(set(np.unique(labels).tolist()) & set(wanted)):
        rle = mask_utils.encode(np.asfortranarray(labels == category, dtype=np.uint8))
        found.append(
            dict(
                category_id=category,
                segmentation=dict(size=[int(n) for n in rle["size"]], counts=rle["counts"].decode()),
                area=float(mask_utils.area(rle)),
                bbox=mask_utils.toBbox(rle).tolist(),
                iscrowd=0,
            )
        )
    return found


def read_map(path: Path, image: dict) -> np.ndarray:
    """Read the class numbers of a pixel map: grey values or palette indices of 1 to 16 bits, as stored.

    Args:
        path: path of the map.
        image: COCO dict of its image.

    Returns:
        (H, W) uint8 or uint16.

    Raises:
        UserError: if the file is not a PNG, is truncated, differs in size from the image, or has colours or
            transparency.
    """
    from PIL import Image

    try:
        with _no_pixel_limit(), Image.open(path) as map_image:
            kind, mode, size = map_image.format, map_image.mode, map_image.size
            if size != (image["width"], image["height"]):
                raise UserError(
                    f"{path}: has {size[0]} x {size[1]} pixels, the json says {image['width']} x {image['height']} for "
                    f"image id {image['id']}; these maps belong to other images"
                )
            values = np.asarray(map_image)
    except UserError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}); pixel maps are PNG files") from None
    if kind != "PNG":
        raise UserError(
            f"{path}: is a {kind} file under another name; pixel maps are PNG files, which keep numbers"
        )
    if mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
        raise UserError(
            f"{path}: has colours, not one class number per pixel (Pillow's mode {mode}); pixel maps are PNG files "
            "with one channel or a palette"
        )
    if mode == "L":  # Pillow scales 2 and 4 bits to 8
        with path.open("rb") as file:
            depth = file.read(25)[24]
        values = values // (255 // (2**depth - 1))
    return values.astype(np.uint16 if mode.startswith("I") else np.uint8)


class _Maps:
    """Matches pixel maps to images, by the image's file name with its folder, else by its base name."""

    def __init__(self, folder: Path, images: Sequence[dict]):
        self.files, self._folder = InputFiles(), folder
        maps = [path for path in self.files.scan(folder) if suffix_of(path) == ".png"]
        self._bare: dict[str, list[Path]] = {}
        for path in maps:
            self._bare.setdefault(fold(path.stem), []).append(path)
        self._names = Counter(_bare_name(image) for image in images)

    def of(self, image: dict) -> Path | None:
        """Return the map of an image, or None.

        Raises:
            UserError: if the match is ambiguous.
        """
        name = stem_of(image["file_name"].replace("\\", "/"))
        found = self.files.with_stem(self._folder / name, (".png",))
        bare = _bare_name(image)
        if not found:
            found = self._bare.get(bare, [])
            if found and self._names[bare] > 1:
                raise UserError(
                    f"{found[0]}: {self._names[bare]} images have the name of this map, e.g. {image['file_name']} "
                    f"(image id {image['id']}); put the maps into sub-folders like those of the images"
                )
        if len(found) > 1:
            raise UserError(
                f"{image['file_name']} (image id {image['id']}): several maps have its name: "
                f"{some(map(self.files.name, found))}; put the map into the image's folder {self._folder / name}.png"
            )
        if found and self.files.is_used(found[0]):
            raise UserError(
                f"{found[0]}: the map of {image['file_name']} (image id {image['id']}) already belongs to another "
                "image of the json; give each image a unique name"
            )
        if found:
            self.files.use(found[0], LABELS)
        return found[0] if found else None


def _bare_name(image: dict) -> str:
    return fold(stem_of(image["file_name"].replace("\\", "/").rpartition("/")[2]))


def _read(
    work: tuple[dict, Path | None], offset: int, wanted: frozenset[int]
) -> tuple[list[dict], int] | None:
    image, path = work
    if path is None:
        return None
    values = read_map(path, image)
    known = [category - offset for category in wanted if 0 <= category - offset <= _LARGEST_VALUE]
    found = regions(values, known)
    for region in found:
        region["category_id"] += offset
    return found, int((~np.isin(values, known)).sum())


def convert_stuff_maps(
    maps: str | Path,
    instances: str | Path,
    out: str | Path,
    categories: str | Path | None = None,
    offset: int = 0,
    workers: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Convert the stuff pixel maps of a data set to a stuff json.

    Args:
        maps: folder of ``<name of the image>.png``, with or without the images' sub-folders; a pixel's value, or
            palette index, plus ``offset`` is its category id.
        instances: COCO json with the images; new annotation ids continue after its highest.
        out: the json to write.
        categories: a json with the ``categories`` of the stuff classes; default COCO-Stuff's 91.
        offset: 0 for COCO's ``stuff_*_pixelmaps``, 1 for ``stuffthingmaps``, whose values count from 0.
        workers: number of processes.
        progress: called after each image.

    Returns:
        Counts: images, images without a map, annotations, pixels of no stuff class, and unused files of ``maps`` by
        reason.

    Raises:
        UserError: if input is missing or broken, a map differs in size from its image or matches several images, or
            there are no maps.
    """
    source = read_coco(instances, require_annotations=False, spans=True)
    known = (
        coco_stuff_categories()
        if categories is None
        else read_coco(categories, require_annotations=False).categories
    )
    shared = {c["id"] for c in source.categories} & {c["id"] for c in known}
    if shared:
        raise UserError(f"{instances}: already has the stuff categories {sorted(shared)[:5]}")
    if not Path(maps).is_dir():
        raise UserError(f"{maps}: no such folder of pixel maps")
    found = _Maps(Path(maps), source.images)
    work = [(image, found.of(image)) for image in source.images]
    found.files.leave_out_rest(lambda path: _NO_IMAGE if suffix_of(path) == ".png" else None)
    read = partial(_read, offset=offset, wanted=frozenset(c["id"] for c in known))
    counts: Counter = Counter({"images": len(source.images), "images without a map": 0})
    annotations = []
    highest = number = max((a["id"] for a in source.annotations), default=0)
    with _mapper(workers) as run:
        for image, result in zip(source.images, run(read, work)):
            progress()
            if result is None:
                counts["images without a map"] += 1
                continue
            for region in result[0]:
                number += 1
                annotations.append(dict(id=number, image_id=image["id"], **region))
            counts["pixels of no stuff class"] += result[1]
    counts["annotations"] = len(annotations)
    counts.update({reason: len(paths) for reason, paths in found.files.left_out().items()})
    if not annotations:
        raise UserError(
            f"{maps}: no stuff for the images of {instances} ({counts['images without a map']} of {len(source.images)} "
            "have no map with their name); check the folder and `offset`"
        )
    if number > MAX_ID:
        raise UserError(
            f"{instances}: its highest annotation id is {highest}; the ids of the {len(annotations)} stuff annotations "
            "continue after it and would exceed 2^63 - 1: renumber the annotations from 1"
        )
    images = [{k: image[k] for k in ("id", "file_name", "width", "height")} for image in source.images]
    data = dict(info=source.info, images=images, annotations=annotations, categories=known)
    write_atomic(out, json.dumps(data).encode())
    return dict(counts)


@contextmanager
def _mapper(workers: int) -> Iterator[Callable]:
    if workers <= 1:
        yield map
        return
    with ProcessPoolExecutor(workers) as pool:
        yield partial(pool.map, chunksize=16)


@contextmanager
def _no_pixel_limit() -> Iterator[None]:
    """Context manager that lifts Pillow's decompression bomb limit: a map may be as large as its image."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
