"""Writing MiniScenes to disk: images, instances json and stuff json in COCO-Thing-Stuff format."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from detdiffusion.utils.errors import UserError

from .looks import look_of
from .render import render
from .scene import STUFF, THINGS, Scene, sample_scene

_MIN_VISIBLE_PIXELS = 6


def _annotation(mask: np.ndarray, **fields) -> dict:
    """Create a COCO annotation from a visible mask (H, W) bool, with its box, area and RLE."""
    rle = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
    ys, xs = np.nonzero(mask)
    x, y = int(xs.min()), int(ys.min())
    box = [x, y, int(xs.max()) - x + 1, int(ys.max()) - y + 1]
    segmentation = {"size": list(map(int, rle["size"])), "counts": rle["counts"].decode()}
    return dict(fields, bbox=box, area=int(mask.sum()), segmentation=segmentation)


def _difficulty(scene: Scene, number: int, hidden: float, area_share: float) -> dict[str, float]:
    """Return the hidden factors of a thing, each from 0 (easy) to 1 (hard); ``score`` is the mean of the five."""
    thing = scene.things[number]
    factors = dict(
        contrast=1 - thing.contrast,
        blur=min(thing.blur / 2.2, 1.0),
        texture=thing.texture,
        occlusion=hidden,
        size=float(np.clip(1 - area_share / 0.15, 0, 1)),
    )
    factors["score"] = sum(factors.values()) / 5
    return {name: round(value, 4) for name, value in factors.items()}


def _annotate(scene: Scene, image_id: int, things, stuff, hidden, size: int) -> tuple[list, list]:
    """Return instance and stuff annotations of a rendered scene; ids are ``image_id * 100 + position``."""
    instances, regions, crowds = [], [], {}
    for number, (thing, mask) in enumerate(zip(scene.things, things)):
        if thing.group is not None:
            union = crowds.setdefault(thing.group, (thing.label, np.zeros_like(mask)))[1]
            union |= mask
            continue
        if mask.sum() < _MIN_VISIBLE_PIXELS:
            continue
        fields = dict(id=image_id * 100 + number, image_id=image_id, category_id=thing.label + 1, iscrowd=0)
        difficulty = _difficulty(scene, number, hidden[number], float(mask.sum()) / size**2)
        instances.append(_annotation(mask, **fields, difficulty=difficulty))
    for group, (label, mask) in crowds.items():
        if mask.sum() >= _MIN_VISIBLE_PIXELS:
            fields = dict(id=image_id * 100 + 40 + group, image_id=image_id, category_id=label + 1, iscrowd=1)
            instances.append(_annotation(mask, **fields))
    for number, ((label, _, _), mask) in enumerate(zip(scene.bands, stuff)):
        if mask.sum() >= _MIN_VISIBLE_PIXELS:
            fields = dict(id=image_id * 100 + 50 + number, image_id=image_id, iscrowd=0)
            regions.append(_annotation(mask, **fields, category_id=len(THINGS) + label + 1))
    return instances, regions


def write_miniscenes(
    out_dir: str | Path,
    split: str,
    count: int,
    *,
    size: int = 64,
    seed: int = 0,
    look: str = "classic",
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Write one split: ``out_dir/split/{images/*.png, instances.json, stuff.json}``.

    The bytes depend only on (split, count, size, seed, look). Splits of different names share no scenes and no ids. The
    json files are written last, so a split without them is incomplete.

    Args:
        out_dir: the data set's folder; created if missing.
        split: name of the split, e.g. ``train``.
        count: number of images.
        size: side of the images in pixels, 64 to 256.
        seed: the data set's seed.
        look: name of a look, or ``random`` for a different one for each image, see :mod:`.looks`; scenes and
            annotations do not depend on it.
        progress: called with the number of finished images.

    Returns:
        The split's folder.

    Raises:
        ValueError: if count is below 1, or size outside 32..1024.
        UserError: if the look is unknown, or an image cannot be written.
    """
    if count < 1 or not 32 <= size <= 1024:
        raise ValueError(
            f"MiniScenes needs count >= 1 and 32 <= size <= 1024, got count={count}, size={size}"
        )
    folder = Path(out_dir) / split
    (folder / "images").mkdir(parents=True, exist_ok=True)
    split_number = zlib.crc32(split.encode()) % 9_000
    images, instances, regions = [], [], []
    for index in range(count):
        image_id = split_number * 1_000_000 + index + 1
        scene = sample_scene(seed * 10_000 + split_number, index)
        picture, things, stuff, hidden = render(scene, size, look_of(look, scene))
        name = f"{index + 1:06d}.png"
        path = folder / "images" / name
        if not cv2.imwrite(str(path), picture[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3]):
            raise UserError(f"cannot write {path}: is the disk full or the folder read-only?")
        images.append(dict(id=image_id, file_name=name, width=size, height=size))
        new_instances, new_regions = _annotate(scene, image_id, things, stuff, hidden, size)
        instances += new_instances
        regions += new_regions
        if progress:
            progress(index + 1)
    info = dict(description="MiniScenes", split=split, seed=seed, size=size, count=count)
    if look != "classic":  # omitted for the classic look, which is older than this entry
        info["look"] = look
    thing_categories = [dict(id=i + 1, name=name, supercategory="thing") for i, name in enumerate(THINGS)]
    stuff_categories = [
        dict(id=len(THINGS) + i + 1, name=name, supercategory="stuff") for i, name in enumerate(STUFF)
    ]
    for name, records, categories in (
        ("stuff", regions, stuff_categories),
        ("instances", instances, thing_categories),
    ):
        content = dict(info=info, licenses=[], images=images, annotations=records, categories=categories)
        temporary = folder / f".{name}.json.tmp"
        temporary.write_text(json.dumps(content))
        temporary.replace(folder / f"{name}.json")
    return folder
