"""The validated COCO json reader that every room of the library uses.

Two kinds of faults are told apart. A *structural* fault (no file, broken json, a missing key, an id that
occurs twice, an annotation of an image or category that is not there) makes the file's meaning doubtful and
raises :class:`~detdiffusion.utils.errors.UserError`. A *defect of one box* (zero size, not finite, outside
its image) concerns that object alone: it is skipped, or clipped where a part of it is inside, and counted in
:attr:`CocoFile.report`, which tools print.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.file_names import check_file_name

from .json_files import load_json, load_with_spans

NOT_FINITE = "box with a value that is not finite"
ZERO_SIZE = "box of zero or negative size"
OUTSIDE = "box outside its image"
CLIPPED = "box reaches over its image's border: clipped"

# COCO's own files reach over the border by rounding (two decimals); that is clipped without a word.
BORDER_TOLERANCE = 0.5
_EXAMPLES = 5
_LIGHT_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore")


@dataclass
class CocoFile:
    """One COCO json after validation.

    Attributes:
        path: where it was read from.
        images: image dicts; ``id`` int, ``file_name`` str, ``width`` and ``height`` int > 0.
        annotations: annotation dicts that survived; ``bbox`` is ``[x, y, w, h]`` float pixels inside the
            image with w, h > 0, ``area`` a float (w * h where the file has none), ``iscrowd`` 0
            or 1, other fields as read.
        categories: category dicts; ``id`` int, ``name`` str.
        report: reason -> number of annotations skipped or clipped for it.
        examples: reason -> the first few annotation ids concerned.
        info: the file's ``info`` entry.
    """

    path: Path
    images: list[dict]
    annotations: list[dict]
    categories: list[dict]
    report: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[int]] = field(default_factory=dict)
    info: dict = field(default_factory=dict)

    def summary(self) -> str:
        """What was read, and one line for each reason in the report."""
        crowds = sum(a["iscrowd"] for a in self.annotations)
        lines = [
            f"{self.path}: {len(self.images)} images, {len(self.annotations)} annotations ({crowds} crowds), "
            f"{len(self.categories)} categories"
        ]
        for reason, count in self.report.items():
            ids = ", ".join(map(str, self.examples[reason]))
            more = ", …" if count > len(self.examples[reason]) else ""
            action = "" if reason == CLIPPED else ": skipped"
            lines.append(f"  {count} × {reason}{action} (annotation ids {ids}{more})")
        return "\n".join(lines)

    def _count(self, reason: str, annotation_id: int) -> None:
        self.report[reason] = self.report.get(reason, 0) + 1
        ids = self.examples.setdefault(reason, [])
        if len(ids) < _EXAMPLES:
            ids.append(annotation_id)


def read_coco(path: str | Path, *, require_annotations: bool = True, spans: bool = False) -> CocoFile:
    """Reads and validates a COCO json (instances, stuff, or both in one).

    Args:
        path: the json file.
        require_annotations: False takes a file without the key ``annotations`` (as ``image_info_*.json``).
        spans: annotations come without ``segmentation`` and other extras, but with ``span``, the (start, end) of
            their own text in the file's bytes. It halves the time and takes a tenth of the memory.

    Returns:
        The cleaned file; print its :meth:`~CocoFile.summary`.

    Raises:
        UserError: a structural fault; names the file, the entry, its value and what to do.
    """
    path = Path(path)
    data = load_with_spans(path, _LIGHT_KEYS) if spans else load_json(path)
    if not isinstance(data, dict):
        raise UserError(
            f"{path}: the top level is a {type(data).__name__}, but a COCO json is an object with "
            "'images', 'annotations' and 'categories'" + _looks_like_results(data)
        )
    wanted = ["images", "categories"] + (["annotations"] if require_annotations else [])
    missing = [key for key in wanted if key not in data]
    if missing:
        raise UserError(
            f"{path}: lacks the key(s) {_quoted(missing)} of a COCO json; it has {_quoted(data) or 'none'}"
        )
    for key in (*wanted, "annotations"):
        if not isinstance(data.get(key, []), list) or not all(isinstance(e, dict) for e in data.get(key, [])):
            raise UserError(f"{path}: '{key}' must be a list of objects")

    info = data.get("info")
    coco = CocoFile(path, data["images"], [], data["categories"], info=info if isinstance(info, dict) else {})
    _check_categories(coco)
    sizes = _check_images(coco)
    coco.annotations = _clean_annotations(coco, data.get("annotations", []), sizes)
    return coco


def merge_checked(files: Sequence[CocoFile]) -> tuple[dict[int, dict], dict[int, dict], list[dict]]:
    """Several files of one set (instances and stuff) as one.

    Returns:
        ``(images by id, categories by id, all annotations)``.

    Raises:
        UserError: an annotation id occurs in two files, or two files disagree about an image or a category, or
            have one category name under two ids.
    """
    images: dict[int, dict] = {}
    categories: dict[int, dict] = {}
    id_of: dict[str, int] = {}
    owner: dict[int, Path] = {}
    for coco in files:
        for image in coco.images:
            known = images.setdefault(image["id"], image)
            for key in ("width", "height", "file_name"):
                if known[key] != image[key]:
                    raise UserError(
                        f"{coco.path}: image id {image['id']} has {key} {image[key]!r}, but {known[key]!r} "
                        "in an annotation file named before it; the files belong to different data sets"
                    )
        for category in coco.categories:
            known = categories.setdefault(category["id"], category)
            if known["name"] != category["name"]:
                raise UserError(
                    f"{coco.path}: category id {category['id']} is {category['name']!r}, but "
                    f"{known['name']!r} in an annotation file named before it; renumber one of them"
                )
            other = id_of.setdefault(category["name"], category["id"])
            if other != category["id"]:
                raise UserError(
                    f"{coco.path}: category {category['name']!r} has id {category['id']}, but id {other} in an "
                    "annotation file named before it; merge or rename one of them"
                )
        for annotation in coco.annotations:
            if annotation["id"] in owner:
                raise UserError(
                    f"{coco.path}: annotation id {annotation['id']} occurs in {owner[annotation['id']]} too; "
                    "ids must be unique over all annotation files: renumber the annotations of one of them"
                )
            owner[annotation["id"]] = coco.path
    return images, categories, [a for coco in files for a in coco.annotations]


def _check_categories(coco: CocoFile) -> None:
    seen: dict[int, str] = {}
    for index, category in enumerate(coco.categories):
        where = f"{coco.path}: categories[{index}]"
        category_id = _int_id(category, "id", where)
        name = category.get("name")
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{where} (id {category_id}): 'name' must be a non-empty text, it is {name!r}")
        if category_id in seen:
            raise UserError(
                f"{where}: category id {category_id} ({name!r}) is taken by {seen[category_id]!r} already"
            )
        if name in seen.values():
            raise UserError(f"{where}: the category name {name!r} occurs twice; merge the two categories")
        seen[category_id] = name


def _check_images(coco: CocoFile) -> dict[int, tuple[float, float]]:
    sizes: dict[int, tuple[float, float]] = {}
    for index, image in enumerate(coco.images):
        where = f"{coco.path}: images[{index}]"
        image_id = _int_id(image, "id", where)
        if image_id in sizes:
            raise UserError(f"{where}: image id {image_id} occurs twice; ids must be unique")
        for key in ("width", "height"):
            value = image.get(key)
            if isinstance(value, float) and value.is_integer():
                value = image[key] = int(value)
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise UserError(
                    f"{where} (id {image_id}): '{key}' must be a whole number above 0, it is {value!r}"
                )
        name = image.get("file_name")
        if not isinstance(name, str) or not name:
            raise UserError(f"{where} (id {image_id}): 'file_name' must be a text, it is {name!r}")
        check_file_name(name, f"{where} (id {image_id})")
        sizes[image_id] = (image["width"], image["height"])
    return sizes


def _clean_annotations(coco: CocoFile, annotations: list[dict], sizes: dict) -> list[dict]:
    categories = {c["id"] for c in coco.categories}
    seen: set[int] = set()
    kept = []
    for index, annotation in enumerate(annotations):
        where = f"{coco.path}: annotations[{index}]"
        annotation_id = _int_id(annotation, "id", where)
        if annotation_id in seen:
            raise UserError(f"{where}: annotation id {annotation_id} occurs twice; ids must be unique")
        seen.add(annotation_id)
        where = f"{where} (id {annotation_id})"
        image_id = _int_id(annotation, "image_id", where)
        if image_id not in sizes:
            raise UserError(
                f"{where}: its image id {image_id} is not among the {len(sizes)} images of the file; "
                "add the image or remove the annotation"
            )
        category_id = _int_id(annotation, "category_id", where)
        if category_id not in categories:
            raise UserError(
                f"{where}: unknown category id {category_id}; 'categories' has {_short(sorted(categories))}"
            )
        bbox = annotation.get("bbox")
        if (
            not isinstance(bbox, (list, tuple))
            or len(bbox) != 4
            or not all(isinstance(v, Real) and not isinstance(v, bool) for v in bbox)
        ):
            raise UserError(
                f"{where}: 'bbox' must be four numbers [x, y, width, height], it is {_clip_repr(bbox)}"
            )
        crowd = annotation.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise UserError(f"{where}: 'iscrowd' must be 0 or 1, it is {crowd!r}")
        clean, defect = clean_box([float(v) for v in bbox], sizes[image_id])
        if defect is not None:
            coco._count(defect, annotation_id)
        if clean is None:
            continue
        annotation["bbox"] = clean
        annotation["iscrowd"] = int(crowd)
        area = annotation.get("area")
        if not isinstance(area, Real) or not math.isfinite(area) or area < 0:
            area = clean[2] * clean[3]
        annotation["area"] = float(area)
        kept.append(annotation)
    return kept


def clean_box(bbox: list[float], size: tuple[float, float]) -> tuple[list[float] | None, str | None]:
    """A box inside its image.

    Args:
        bbox: x, y, width, height in pixels.
        size: width and height of the image.

    Returns:
        (the box, clipped where it reaches out, or None if nothing is left; what is wrong with it, or None).
    """
    x, y, w, h = bbox
    width, height = size
    if not all(map(math.isfinite, bbox)):
        return None, NOT_FINITE
    if w <= 0 or h <= 0:
        return None, ZERO_SIZE
    x1, y1, x2, y2 = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
    if x1 >= x2 or y1 >= y2:
        return None, OUTSIDE
    if x1 == x and y1 == y and x2 == x + w and y2 == y + h:
        return bbox, None
    far = max(x1 - x, y1 - y, x + w - x2, y + h - y2) > BORDER_TOLERANCE
    return [x1, y1, x2 - x1, y2 - y1], CLIPPED if far else None


def _int_id(entry: dict, key: str, where: str) -> int:
    value = entry.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if key not in entry:
        raise UserError(f"{where}: lacks '{key}'")
    raise UserError(f"{where}: '{key}' must be a whole number, it is {_clip_repr(value)}")


def _looks_like_results(data: Any) -> str:
    if isinstance(data, list) and data and isinstance(data[0], dict) and "score" in data[0]:
        return "; this looks like a detector's results file, which is given by --predictions"
    return ""


def _quoted(names) -> str:
    return ", ".join(f"'{n}'" for n in names)


def _short(values: list, limit: int = 10) -> str:
    text = ", ".join(map(str, values[:limit]))
    return text + (f", … ({len(values)} in all)" if len(values) > limit else "") if values else "none"


def _clip_repr(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else text[:77] + "..."
