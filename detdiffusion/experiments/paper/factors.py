"""How hard an object looks: contrast, edge sharpness and camouflage, measured in the picture.

MiniScenes draws hard objects with low contrast, blur and camouflage. These are measured here on any picture of a
known layout, real or generated; occlusion and size follow from the layout, so strategies cannot change them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.image_reading import read_bgr
from detdiffusion.evaluation.names import MEASURES
from detdiffusion.utils.errors import UserError

_MIN_PIXELS = 12


def measure_object(image: np.ndarray, mask: np.ndarray, others: np.ndarray) -> dict[str, float] | None:
    """The measures of one object.

    Args:
        image: (H, W, 3) uint8, any order of colours.
        mask: (H, W) bool, the object's visible pixels.
        others: (H, W) bool, pixels of other objects, left out of its surroundings.

    Returns:
        ``contrast``: Euclidean distance of the mean colours inside and around (0 to 442); ``sharpness``: mean
        gradient at the outline over the mean gradient within 3 pixels of it (a blurred edge spreads its
        gradient, a sharp one does not; contrast cancels out); ``camouflage``: median absolute Laplacian of the
        grey levels inside, over the contrast (+ 10 levels, so that it stays finite): how strong the surface's
        pattern is beside what tells the object from its surroundings. None where the object or its
        surroundings are too few pixels.
    """
    height, width = mask.shape
    unit = max(1, round(min(height, width) / 64))
    inside, outside = _distance(mask), _distance(~mask)
    free = ~mask & ~others
    around = free & (outside > unit) & (outside <= 5 * unit)
    body = mask & (inside > unit)
    if body.sum() < _MIN_PIXELS or around.sum() < _MIN_PIXELS:
        return None
    picture = image.astype(np.float32)
    contrast = float(np.linalg.norm(picture[body].mean(0) - picture[around].mean(0)))
    slope = np.sqrt(
        sum(cv2.Sobel(picture, cv2.CV_32F, *axis, ksize=3) ** 2 for axis in ((1, 0), (0, 1))).sum(2)
    )
    away = np.where(mask, inside, outside)
    near = (mask | free) & (away <= 3.5 * unit)
    at = near & (away <= 1.5 * unit)
    sharpness = float(slope[at].mean() / max(slope[near].mean(), 1e-6))
    grey = picture.mean(2)
    pattern = float(np.median(np.abs(cv2.Laplacian(grey, cv2.CV_32F))[body]))
    return dict(contrast=contrast, sharpness=sharpness, camouflage=pattern / (contrast + 10))


def measure_set(
    image_paths: Mapping[int, Path], annotations: Iterable[Mapping], masks: Mapping[int, np.ndarray]
) -> dict[int, dict[str, float]]:
    """Measures of the objects of many pictures.

    Args:
        image_paths: layout (source image) id -> picture.
        annotations: source annotations (``id``, ``image_id``) of the objects to measure.
        masks: source annotation id -> (H, W) bool, of every object of those layouts.

    Returns:
        source annotation id -> measures; objects too small to measure are left out.
    """
    groups: dict[int, list[int]] = {}
    for annotation in annotations:
        groups.setdefault(annotation["image_id"], []).append(annotation["id"])
    found = {}
    for layout, ids in groups.items():
        image = read_bgr(image_paths[layout])
        for one in ids:
            rest = [masks[other] for other in ids if other != one]
            others = np.logical_or.reduce(rest) if rest else np.zeros_like(masks[one])
            size = image.shape[1::-1]
            measured = measure_object(image, _resized(masks[one], size), _resized(others, size))
            if measured is not None:
                found[one] = measured
    return found


def compare_factors(things: Path, real_images: Path, sets: Mapping[str, Path]) -> dict:
    """The measures of the same objects in the real images and in every generated set.

    Args:
        things: instances json of the source images, with the hidden ``difficulty``.
        real_images: their folder.
        sets: strategy -> folder of ``tools/generate.py``.

    Returns:
        ``objects``: how many are measured in all; ``means``: set -> measure -> mean over them (``real`` too);
        ``validity``: on real images, Spearman rank correlation of each measure with the hidden factor that it stands
        for (contrast with low contrast, sharpness with blur, camouflage with texture).

    Raises:
        UserError: a file is missing or broken, or no object is in every set.
    """
    from scipy.stats import spearmanr

    source = read_coco(things)
    names = {image["id"]: image["file_name"] for image in source.images}
    loaded = {name: _generated(folder) for name, folder in sets.items()}
    prompted = set.intersection(*(ids for _, ids in loaded.values()))
    wanted = [a for a in source.annotations if a["id"] in prompted and not a.get("iscrowd")]
    layouts = {a["image_id"] for a in wanted}
    near = [a for a in source.annotations if a["image_id"] in layouts]
    masks = {a["id"]: mask_utils.decode(a["segmentation"]).astype(bool) for a in near}
    paths = {"real": {layout: real_images / names[layout] for layout in layouts}}
    paths |= {name: pictures for name, (pictures, _) in loaded.items()}
    measured = {name: measure_set(pictures, near, masks) for name, pictures in paths.items()}
    common = [a for a in wanted if all(a["id"] in found for found in measured.values())]
    if not common:
        raise UserError(f"no object of {things} can be measured in all of the sets {', '.join(sets)}")
    hidden = dict(contrast="contrast", sharpness="blur", camouflage="texture")
    validity = {}
    for measure, factor in hidden.items():
        values = [measured["real"][a["id"]][measure] for a in common]
        factors = [a["difficulty"][factor] for a in common]
        enough = len(set(values)) > 1 and len(set(factors)) > 1
        validity[measure] = float(spearmanr(values, factors).statistic) if enough else None
    means = {
        name: {measure: float(np.mean([found[a["id"]][measure] for a in common])) for measure in MEASURES}
        for name, found in measured.items()
    }
    return dict(objects=len(common), means=means, validity=validity)


def _generated(folder: Path) -> tuple[dict[int, Path], set[int]]:
    """Layout -> picture, and the source annotations that are in the set."""
    data = read_coco(folder / "annotations.json")
    pictures: dict[int, Path] = {}
    for image in data.images:
        pictures.setdefault(image["source_image_id"], folder / "images" / image["file_name"])
    return pictures, {a["source_annotation_id"] for a in data.annotations}


def _distance(region: np.ndarray) -> np.ndarray:
    """(H, W) float32 distance in pixels of each point of a region to the outside of it, 0 outside."""
    return cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 5)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if mask.shape[::-1] == size:
        return mask
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
