"""Checks of a COCO json's images and categories, and of ids."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import Any

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.file_names import check_file_name

from .finding_log import FindingLog

MAX_ID = 2**63 - 1
"""Of images, annotations and categories: COCO's own tools and numpy keep ids in 64 bits."""

MAX_SIDE = 2**31 - 1

MAX_COORDINATE = 10**6
"""Of polygons, in pixels: pycocotools takes memory by the length of an outline, and crashes at a long one."""


def shown(entry: dict, key: str) -> Any:
    """The value as a finding prints it: also one that is missing or null."""
    return "missing" if key not in entry else "null" if entry[key] is None else entry[key]


def check_id(entry: dict, key: str, place: str, log: FindingLog) -> int | None:
    """The id, or None where it is none, which is logged."""
    value = entry.get(key)
    if type(value) is int and 0 <= value <= MAX_ID:
        return value
    if key not in entry:
        log.error(f"lacks '{key}'", place)
    elif type(value) is not int:
        numeric = isinstance(value, str) and value.strip().isdecimal()
        remedy = "write it without quotation marks, here and where it is referred to" if numeric else ""
        log.error(f"'{key}' must be a whole number", place, shown(entry, key), remedy)
    else:
        log.error(f"'{key}' must be from 0 to 2^63 - 1", place, value, "number them anew")
    return None


def check_categories(categories: list[dict], log: FindingLog) -> set[int]:
    """The categories' ids; what is wrong is logged."""
    seen: dict[int, str] = {}
    names: set[str] = set()
    for index, category in enumerate(categories):
        place = f"categories[{index}]"
        key, name = check_id(category, "id", place, log), category.get("name")
        place = place if key is None else f"{place} (id {key})"
        if not isinstance(name, str) or not name.strip():
            log.error("'name' must be a non-empty text", place, shown(category, "name"))
            continue
        if key in seen:
            log.error(f"category id {key} is taken by {seen[key]!r} already", place, name)
        if name in names:
            log.error(f"the category name {name!r} occurs twice", place, remedy="merge the two categories")
        names.add(name)
        if key is not None:
            seen[key] = name
    return set(seen)


def check_images(images: list[dict], log: FindingLog) -> dict[int, tuple[int, int]]:
    """Width and height of each image id; what is wrong is logged.

    One file under two ids would have the objects of either as two half-labelled images.
    """
    sizes: dict[int, tuple[int, int]] = {}
    owner: dict[str, int] = {}
    for index, image in enumerate(images):
        place = f"images[{index}]"
        key = check_id(image, "id", place, log)
        if key is not None:
            place = f"{place} (id {key})"
            if key in sizes:
                log.error(f"image id {key} occurs twice", place, remedy="ids must be unique")
        for side in ("width", "height"):
            if not _whole_side(image, side):
                log.error(f"'{side}' must be a whole number above 0", place, shown(image, side))
        _check_name(image, key, place, owner, log)
        if key is not None:
            sizes[key] = (image.get("width"), image.get("height"))
    _note_cases(owner, log)
    return sizes


def file_key(file_name: str) -> str:
    """What two names of one file have in common: ``./a.png`` and ``a.png``, either kind of slash."""
    if "\\" in file_name or "./" in file_name or "//" in file_name:
        return str(PurePosixPath(file_name.replace("\\", "/")))
    return file_name


def _whole_side(image: dict, side: str) -> bool:
    """Whether the side is a number of pixels; a whole number with a decimal point becomes one."""
    value = image.get(side)
    if isinstance(value, float) and value.is_integer():
        value = image[side] = int(value)
    return type(value) is int and 0 < value <= MAX_SIDE


def _check_name(image: dict, key: int | None, place: str, owner: dict[str, int], log: FindingLog) -> None:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        log.error("'file_name' must be a text", place, shown(image, "file_name"))
        return
    try:
        check_file_name(name, place)
    except UserError as error:
        log.error(str(error).removeprefix(f"{place}: "), place)
        return
    first = owner.setdefault(file_key(name), key)
    if first != key:
        log.error(
            f"the file name is that of image id {first} too",
            place,
            name,
            "one file is one image: merge the two entries and their objects, or give two files different names",
        )


def _note_cases(owner: dict[str, int], log: FindingLog) -> None:
    folded: dict[str, str] = {}
    alike = [(first, name) for name in owner if (first := folded.setdefault(name.casefold(), name)) != name]
    if alike:
        log.add(
            "two file names that differ in upper and lower case alone",
            [f"{first} and {name}" for first, name in alike[:5]],
            remedy="they are one file on Windows and macOS",
            severity="note",
            count=len(alike),
        )


def check_regions(images: list[dict], log: FindingLog) -> None:
    """``not_prompted`` of the images, the objects that a prompt left out, as ``tools/generate.py`` records them."""
    for index, image in enumerate(images):
        if "not_prompted" in image and not _are_regions(image["not_prompted"]):
            log.error(
                "'not_prompted' must list objects with bbox and category_id",
                f"images[{index}] (id {image['id']})",
                shown(image, "not_prompted"),
                "generate the set again",
            )


def _are_regions(regions: Any) -> bool:
    try:
        return type(regions) is list and all(
            type(one["category_id"]) is int and len(one["bbox"]) == 4 and math.isfinite(sum(one["bbox"]))
            for one in regions
        )
    except (KeyError, TypeError, OverflowError):
        return False
