"""Stuff pixel maps (one PNG an image, a pixel's value names its class) as a COCO stuff json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic

FIRST_STUFF_ID = 92
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
    """COCO-Stuff's 91 stuff classes as category dicts."""
    return [
        dict(id=FIRST_STUFF_ID + i, name=name, supercategory="stuff") for i, name in enumerate(STUFF_NAMES)
    ]


def regions(labels: np.ndarray, wanted: Iterable[int]) -> list[dict]:
    """One annotation for each wanted class in a label map, in the form of COCO's stuff json.

    Args:
        labels: (H, W) uint8 or uint16 category ids.
        wanted: category ids.

    Returns:
        Dicts with ``category_id``, ``segmentation`` (compressed RLE), ``area`` in pixels, ``bbox`` (x, y, w, h) and
        ``iscrowd`` 0, by ascending category.
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


def _read(image: dict, folder: Path, offset: int, wanted: frozenset[int]) -> tuple[list[dict], int] | None:
    path = folder / f"{Path(image['file_name']).stem}.png"
    if not path.is_file():
        return None
    labels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if labels is None or labels.ndim != 2:
        kind = "cannot be read as an image" if labels is None else "has colours, not one class number a pixel"
        raise UserError(f"{path}: {kind}; pixel maps are PNG files with one channel")
    if labels.shape != (image["height"], image["width"]):
        raise UserError(
            f"{path}: has {labels.shape[1]} x {labels.shape[0]} pixels, the json says {image['width']} x "
            f"{image['height']} for image id {image['id']}; these maps belong to other images"
        )
    labels = labels.astype(np.int32) + offset
    return regions(labels, wanted), int((~np.isin(labels, list(wanted))).sum())


def convert_stuff_maps(
    maps: str | Path,
    instances: str | Path,
    out: str | Path,
    categories: str | Path | None = None,
    offset: int = 0,
    workers: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Writes the stuff json of a set whose stuff comes as pixel maps.

    Args:
        maps: folder of ``<name of the image>.png``; a pixel's value plus ``offset`` is its category id.
        instances: COCO json with the images; annotation ids go on after its highest.
        out: the json to write.
        categories: a json with the ``categories`` of the stuff classes; default COCO-Stuff's 91.
        offset: 0 for COCO's ``stuff_*_pixelmaps``, 1 for ``stuffthingmaps``, whose values count from 0.
        workers: processes.
        progress: called after each image.

    Returns:
        Counts: images, images without a map, annotations, pixels of no stuff class.

    Raises:
        UserError: missing or broken input, maps of another size, or no map at all.
    """
    source = read_coco(instances, require_annotations=False, spans=True)
    known = (
        coco_stuff_categories()
        if categories is None
        else read_coco(categories, require_annotations=False).categories
    )
    shared = {c["id"] for c in source.categories} & {c["id"] for c in known}
    if shared:
        raise UserError(f"{instances}: has the stuff categories {sorted(shared)[:5]} already")
    if not Path(maps).is_dir():
        raise UserError(f"{maps}: no such folder of pixel maps")
    read = partial(_read, folder=Path(maps), offset=offset, wanted=frozenset(c["id"] for c in known))
    counts: Counter = Counter({"images": len(source.images), "images without a map": 0})
    annotations, number = [], max((a["id"] for a in source.annotations), default=0)
    with _mapper(workers) as run:
        for image, result in zip(source.images, run(read, source.images)):
            progress()
            if result is None:
                counts["images without a map"] += 1
                continue
            for region in result[0]:
                number += 1
                annotations.append(dict(id=number, image_id=image["id"], **region))
            counts["pixels of no stuff class"] += result[1]
    counts["annotations"] = len(annotations)
    if not annotations:
        raise UserError(
            f"{maps}: no stuff for the images of {instances} ({counts['images without a map']} of {len(source.images)} "
            "have no map of their name); check the folder and --offset"
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
