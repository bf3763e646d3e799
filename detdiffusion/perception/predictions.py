"""Predictions of a detector on a data set, stored as columns, and a reader of COCO results json files."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detdiffusion.datasets.boxes import all_look_normalised
from detdiffusion.datasets.coco_json import load_json
from detdiffusion.datasets.coco_tables import MAX_ID
from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.numbers import is_number

UNKNOWN_CATEGORY = -1


@dataclass
class Predictions:
    """P predictions over all images of a set.

    Attributes:
        image_ids: (P,) int64.
        category_ids: (P,) int64, ids of the annotation file; :data:`UNKNOWN_CATEGORY` for other classes.
        boxes: (P, 4) float64, xyxy in pixels of the annotated image.
        scores: (P,) float64 in [0, 1].
        report: numbers of predictions that were left out or are otherwise worth reporting, by reason.
    """

    image_ids: np.ndarray
    category_ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    report: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.scores)

    def to_coco_results(self) -> list[dict]:
        """Return the list that pycocotools' ``loadRes`` takes; predictions of unknown categories are left out."""
        xywh = self.boxes.copy()
        xywh[:, 2:] -= xywh[:, :2]
        columns = zip(
            self.image_ids.tolist(), self.category_ids.tolist(), xywh.tolist(), self.scores.tolist()
        )
        return [
            {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}
            for image_id, category_id, bbox, score in columns
            if category_id != UNKNOWN_CATEGORY
        ]


def read_results(
    path: str | Path, images: Mapping[int, Mapping], category_ids: Collection[int]
) -> Predictions:
    """Read and validate a COCO results json: a list of ``{image_id, category_id, bbox, score}``.

    ``bbox`` is ``[x, y, width, height]`` in pixels. Predictions on images that are not in the set are left out and
    counted, so that results of a data set can be used with annotations of a part of it.

    Args:
        path: the json file.
        images: COCO image dicts of the annotation files, by id.
        category_ids: category ids of the annotation files.

    Raises:
        UserError: the file does not exist or is not a results list; a key is missing; a value is not a number, not
            finite or out of range; a category is unknown; boxes look normalised; or no image is in the set.
    """
    path = Path(path)
    entries = load_json(path, "COCO results json")
    if not isinstance(entries, list):
        is_coco = isinstance(entries, dict) and "images" in entries
        hint = "; this looks like an annotation file, which belongs to `ann`" if is_coco else ""
        raise UserError(
            f"{path}: not a COCO results json: the top level is a {type(entries).__name__}, but must be a list of "
            f"{{'image_id', 'category_id', 'bbox', 'score'}}{hint}"
        )
    category_ids = set(category_ids)
    for index, entry in enumerate(entries):
        fault = _fault(entry, category_ids)
        if fault:
            raise UserError(f"{path}: entry {index}: {fault}")
    columns = Predictions(
        image_ids=np.fromiter((e["image_id"] for e in entries), np.int64, len(entries)),
        category_ids=np.fromiter((e["category_id"] for e in entries), np.int64, len(entries)),
        boxes=np.array([e["bbox"] for e in entries], np.float64).reshape(-1, 4),
        scores=np.fromiter((e["score"] for e in entries), np.float64, len(entries)),
    )
    columns.boxes[:, 2:] += columns.boxes[:, :2]
    known = np.isin(columns.image_ids, np.fromiter(images, np.int64, len(images)))
    if len(entries) and not known.any():
        raise UserError(
            f"{path}: none of its {len(entries)} predictions is on one of the {len(images)} images of the "
            f"annotation files (first image id here: {entries[0]['image_id']}); it belongs to another data "
            "set"
        )
    if not known.all():
        columns.report["predictions on images that the annotation files lack: left out"] = int((~known).sum())
    columns = Predictions(
        columns.image_ids[known],
        columns.category_ids[known],
        columns.boxes[known],
        columns.scores[known],
        columns.report,
    )
    _check_unit(path, columns, images)
    return columns


def _check_unit(path: Path, columns: Predictions, images: Mapping[int, Mapping]) -> None:
    sizes = np.array([(images[i]["width"], images[i]["height"]) for i in columns.image_ids.tolist()])
    if len(columns) and all_look_normalised(columns.boxes, sizes):
        raise UserError(
            f"{path}: the boxes of all {len(columns)} entries lie between 0 and {columns.boxes.max():.3g}: they look "
            "normalised to the image, but must be [x, y, width, height] in pixels; multiply them by the images' sides"
        )


def _fault(entry: object, category_ids: set[int]) -> str | None:
    """Return what is wrong with an entry of a results list, or None."""
    try:
        image_id, category_id, score = entry["image_id"], entry["category_id"], entry["score"]
        x, y, w, h = entry["bbox"]
        # A single sum detects NaN, infinity and anything that is not a number; true and false are numbers in Python.
        valid_values = math.isfinite(x + y + w + h) and w >= 0 and h >= 0 and 0 <= score <= 1
        valid_values = valid_values and bool not in map(type, (x, y, w, h, score))
        valid_ids = type(image_id) is int and type(category_id) is int and 0 <= image_id <= MAX_ID
        if valid_values and valid_ids and category_id in category_ids:
            return None
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    return _describe_fault(entry, category_ids)


def _describe_fault(entry: object, category_ids: set[int]) -> str:
    if not isinstance(entry, dict):
        return f"must be an object, got {str(entry)[:60]!r}"
    for key in ("image_id", "category_id", "bbox", "score"):
        if key not in entry:
            return f"lacks '{key}'"
    for key in ("image_id", "category_id"):
        if type(entry[key]) is not int:
            return f"'{key}' must be a whole number, got {str(entry[key])[:60]!r}"
        if not 0 <= entry[key] <= MAX_ID:
            return f"'{key}' must be from 0 to 2^63 - 1, got {str(entry[key])[:60]}"
    score, bbox = entry["score"], entry["bbox"]
    if not is_number(score) or not 0 <= score <= 1:
        return f"'score' must be a number from 0 to 1, got {score!r}"
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, bbox)) or min(bbox[2:]) < 0:
        return f"'bbox' must be four finite numbers [x, y, width, height], got {str(bbox)[:60]}"
    return (
        f"unknown category id {entry['category_id']}; the annotation files have {some(sorted(category_ids), 10)}; "
        "use the results of a detector on this data set, or give all annotation files by `ann`"
    )
