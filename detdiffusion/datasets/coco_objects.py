"""Checks of a COCO json's annotations: structural problems are errors, defects of single objects are counted."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Set

import numpy as np

from detdiffusion.utils.errors import UserError

from .boxes import check_unit, clean_boxes, log_defects
from .coco_tables import MAX_ID, check_id, shown
from .finding_log import FindingLog
from .masks import segmentation_area
from .segmentation_check import SegmentationCheck

NO_AREA = "no area is given"
BAD_AREA = "area that cannot be this object's"
BOX_AREA, MASK_AREA = "the box's area is used", "the mask's area is used"

_BOX_TYPES = {int, float}


def clean_annotations(
    annotations: list[dict],
    sizes: Mapping[int, tuple[int, int]],
    categories: Set[int],
    log: FindingLog,
    segmentations: SegmentationCheck,
    in_memory: bool,
) -> list[dict]:
    """Return the usable annotations, with ``bbox``, ``area``, ``iscrowd`` and ``segmentation`` corrected.

    Args:
        annotations: annotations as read, changed in place.
        sizes: image id -> (width, height).
        categories: category ids.
        log: receives the findings.
        segmentations: the check of the segmentations. If not ``in_memory``, it must have processed all of them already.
        in_memory: whether the annotations contain their segmentations.

    Raises:
        UserError: see :func:`~detdiffusion.datasets.coco_json.read_coco`.
    """
    _check_fields(annotations, sizes, categories, log)
    log.raise_errors()
    if in_memory:
        for annotation in annotations:
            segmentation = segmentations(annotation)
            annotation.pop("segmentation", None)
            if segmentation:
                annotation["segmentation"] = segmentation
    ids = [annotation["id"] for annotation in annotations]
    boxes = _as_array([annotation["bbox"] for annotation in annotations])
    image_sizes = np.array([sizes[a["image_id"]] for a in annotations], np.float64).reshape(-1, 2)
    for row in segmentations.log_findings(ids, image_sizes, log):
        annotations[row].pop("segmentation", None)
    check_unit(boxes, image_sizes, ids, log)
    clean, defects = clean_boxes(boxes, image_sizes)
    log_defects(defects, ids, log)
    useless = (defects > 0) & (defects < 4)
    if len(ids) and useless.all():
        log.error("none of its boxes can be used", f"{len(ids)} annotations", remedy="correct the boxes")
    log.raise_errors()
    kept = []
    for row, box in zip(np.flatnonzero(~useless).tolist(), clean[~useless].tolist()):
        annotation = annotations[row]
        annotation["bbox"] = box
        annotation["iscrowd"] = int(annotation.get("iscrowd", 0))
        if plausible_area(annotation.get("area"), box[2], box[3]):
            annotation["area"] = float(annotation["area"])
        else:
            _mend_area(annotation, sizes[annotation["image_id"]], bool(segmentations.usable[row]), log)
        kept.append(annotation)
    return kept


def plausible_area(area: object, width: float, height: float) -> bool:
    """Return whether an area in square pixels is plausible for an object in a box of this size.

    It is not if it is not a number, is not above 0, exceeds the box (with a margin for rounding and for boxes that
    include their last pixel), or seems to be a share of the image instead of pixels.
    """
    if type(area) not in _BOX_TYPES or not 0 < area <= 1.1 * (width + 1) * (height + 1):
        return False
    return area > 1 or width * height <= 4


def _mask_area(annotation: Mapping, size: tuple[int, int]) -> float | None:
    """Return the area of the mask; None if there is no mask or its area does not fit the box."""
    segmentation, (_, _, width, height) = annotation.get("segmentation"), annotation["bbox"]
    if segmentation:
        with contextlib.suppress(UserError):
            area = segmentation_area(segmentation, size[1], size[0], "")
            return area if plausible_area(area, width, height) else None
    return None


def _mend_area(annotation: dict, size: tuple[int, int], has_mask: bool, log: FindingLog) -> None:
    """Log a missing or implausible area and replace it by that of the mask, or else that of the box.

    A mask that is not in memory is not read for this purpose: such annotations are left without an area.
    """
    given, remedy = annotation.pop("area", None), MASK_AREA
    if "segmentation" in annotation or not has_mask:
        area = _mask_area(annotation, size)
        remedy = MASK_AREA if area else BOX_AREA
        annotation["area"] = area or annotation["bbox"][2] * annotation["bbox"][3]
    log.add(
        NO_AREA if given is None else BAD_AREA,
        [annotation["id"]],
        kind="annotation id",
        value=given,
        remedy=remedy,
        severity="note",
    )


def _check_fields(annotations: list[dict], sizes: Mapping, categories: Set[int], log: FindingLog) -> None:
    seen: set[int] = set()
    for index, annotation in enumerate(annotations):
        try:  # a single expression for valid annotations, for speed: files have millions
            key, image, category = annotation["id"], annotation["image_id"], annotation["category_id"]
            box = annotation["bbox"]
            sound = (
                type(key) is type(image) is type(category) is int
                and 0 <= key <= MAX_ID
                and key not in seen
                and image in sizes
                and category in categories
                and type(box) is list
                and len(box) == 4
                and _BOX_TYPES.issuperset(map(type, box))
                and annotation.get("iscrowd", 0) in (0, 1)
            )
        except (KeyError, TypeError):
            sound = False
        if not sound:
            key = _log_faults(annotation, f"annotations[{index}]", seen, sizes, categories, log)
        seen.add(key)


def _log_faults(
    annotation: dict, place: str, seen: Set[int], sizes: Mapping, categories: Set[int], log: FindingLog
) -> int | None:
    key = check_id(annotation, "id", place, log)
    if key is not None:
        if key in seen:
            log.error(f"annotation id {key} occurs twice", place, remedy="ids must be unique")
        place = f"{place} (id {key})"
    image, category = (check_id(annotation, name, place, log) for name in ("image_id", "category_id"))
    if image is not None and image not in sizes:
        log.error(
            f"its image id {image} is not among the {len(sizes)} images of the file",
            place,
            remedy="add the image or remove the annotation",
        )
    if category is not None and category not in categories:
        known = sorted(categories)
        listed = ", ".join(map(str, known[:10])) + (f", … ({len(known)} in all)" if len(known) > 10 else "")
        log.error(f"unknown category id {category}", place, remedy=f"'categories' has {listed or 'none'}")
    box = annotation.get("bbox")
    if type(box) is not list or len(box) != 4 or not _BOX_TYPES.issuperset(map(type, box)):
        log.error("'bbox' must be four numbers [x, y, width, height]", place, shown(annotation, "bbox"))
    crowd = annotation.get("iscrowd", 0)
    if not isinstance(crowd, (int, float)) or crowd not in (0, 1):
        log.error("'iscrowd' must be 0 or 1", place, shown(annotation, "iscrowd"))
    return key


def _as_array(boxes: list[list[float]]) -> np.ndarray:
    try:
        return np.array(boxes, np.float64).reshape(-1, 4)
    except OverflowError:  # integers beyond the range of a float

        def number(value: float) -> float:
            try:
                return float(value)
            except OverflowError:
                return float("inf")

        return np.array([[number(value) for value in box] for box in boxes])
