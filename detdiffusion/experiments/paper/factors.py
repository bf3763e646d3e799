"""Visual difficulty of objects: contrast, edge sharpness and camouflage, measured in images.

MiniScenes renders hard objects with low contrast, blur and camouflage. These factors are measured in images of known
layouts, real or generated; occlusion and size are determined by the layout, so strategies cannot change them.
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

from .verdicts import rank_correlation

_MIN_PIXELS = 12


def measure_object(image: np.ndarray, mask: np.ndarray, others: np.ndarray) -> dict[str, float] | None:
    """Measure one object.

    Args:
        image: (H, W, 3) uint8, in any channel order.
        mask: (H, W) bool, visible pixels of the object.
        others: (H, W) bool, pixels of other objects, which are excluded from its surroundings.

    Returns:
        ``contrast``: Euclidean distance of the mean colours of the object and its surroundings (0 to 442);
        ``sharpness``: mean gradient at the outline divided by the mean gradient within 3 pixels of it (lower for
        blurred edges, independent of contrast); ``camouflage``: median absolute Laplacian of the grey levels inside,
        divided by contrast + 10 (to stay finite): the strength of the surface's pattern relative to the contrast.
        None if the object or its surroundings have too few pixels.
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
    """Measure the objects of several images.

    Args:
        image_paths: images by layout (source image) id.
        annotations: source annotations (``id``, ``image_id``) of the objects to measure.
        masks: (H, W) bool masks of all objects of those layouts, by source annotation id.

    Returns:
        Measures by source annotation id; objects that are too small are left out.
    """
    groups: dict[int, list[int]] = {}
    for annotation in annotations:
        groups.setdefault(annotation["image_id"], []).append(annotation["id"])
    found = {}
    for layout, ids in groups.items():
        image = read_bgr(image_paths[layout])
        for key in ids:
            rest = [masks[other] for other in ids if other != key]
            others = np.logical_or.reduce(rest) if rest else np.zeros_like(masks[key])
            size = image.shape[1::-1]
            measured = measure_object(image, _resized(masks[key], size), _resized(others, size))
            if measured is not None:
                found[key] = measured
    return found


def compare_factors(things: Path, real_images: Path, sets: Mapping[str, Path]) -> dict:
    """Measure the same objects in the real images and in all generated sets.

    Args:
        things: instances json of the source images, with the hidden ``difficulty``.
        real_images: folder of the source images.
        sets: folders written by ``tools/generate.py``, by strategy.

    Returns:
        ``objects``: number of objects measured in all sets; ``means``: mean of each measure, by set (including
        ``real``) and measure; ``validity``: Spearman rank correlation, on real images, of each measure with the hidden
        factor that it represents (contrast with low contrast, sharpness with blur, camouflage with texture).

    Raises:
        UserError: a file is missing or damaged, or no object is in every set.
    """
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
        validity[measure] = rank_correlation(values, factors)
    means = {
        name: {measure: float(np.mean([found[a["id"]][measure] for a in common])) for measure in MEASURES}
        for name, found in measured.items()
    }
    return dict(objects=len(common), means=means, validity=validity)


def _generated(folder: Path) -> tuple[dict[int, Path], set[int]]:
    """Return the images by layout, and the ids of the source annotations in the set."""
    data = read_coco(folder / "annotations.json")
    pictures: dict[int, Path] = {}
    for image in data.images:
        pictures.setdefault(image["source_image_id"], folder / "images" / image["file_name"])
    return pictures, {a["source_annotation_id"] for a in data.annotations}


def _distance(region: np.ndarray) -> np.ndarray:
    """Return the (H, W) float32 distance in pixels from each point of a region to its outside, 0 outside."""
    return cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 5)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if mask.shape[::-1] == size:
        return mask
    return cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)
