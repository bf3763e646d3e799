"""Checks of a COCO json's images, categories and ids."""

from __future__ import annotations

import math
from pathlib import PurePosixPath
from typing import Any

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.file_names import check_file_name

from .finding_log import FindingLog

MAX_ID = 2**63 - 1
"""Largest id of images, annotations and categories: COCO's tools and numpy store ids in 64 bits."""

MAX_SIDE = 2**31 - 1

MAX_COORDINATE = 10**6
"""Largest coordinate of polygons in pixels: pycocotools' memory grows with an outline's length until it crashes."""


def shown(entry: dict, key: str) -> Any:
    """Return the value of a key for a finding, as "missing" or "null" if it has none."""
    if key not in entry:
        return "missing"
    return "null" if entry[key] is None else entry[key]


def check_id(entry: dict, key: str, place: str, log: FindingLog) -> int | None:
    """Return the id of an entry; logs an error and returns None if it is invalid."""
    value = entry.get(key)
    if type(value) is int and 0 <= value <= MAX_ID:
        return value
    if key not in entry:
        log.error(f"lacks '{key}'", place)
    elif type(value) is not int:
        numeric = isinstance(value, str) and value.strip().isdecimal()
        remedy = "write it without quotation marks, here and wherever it is referenced" if numeric else ""
        log.error(f"'{key}' must be a whole number", place, shown(entry, key), remedy)
    else:
        log.error(f"'{key}' must be from 0 to 2^63 - 1", place, value, "renumber the entries")
    return None


def check_categories(categories: list[dict], log: FindingLog) -> set[int]:
    """Return the ids of the categories; logs errors."""
    seen: dict[int, str] = {}
    names: set[str] = set()
    for index, category in enumerate(categories):
        place = f"categories[{index}]"
        key, name = check_id(category, "id", place, log), category.get("name")
        place = place if key is None else f"{place} (id {key})"
        if not isinstance(name, str) or not name.strip():
            log.error("'name' must be a non-empty string", place, shown(category, "name"))
            continue
        if key in seen:
            log.error(f"category id {key} is already used by {seen[key]!r}", place, name)
        if name in names:
            log.error(f"the category name {name!r} occurs twice", place, remedy="merge the two categories")
        names.add(name)
        if key is not None:
            seen[key] = name
    return set(seen)


def check_images(images: list[dict], log: FindingLog) -> dict[int, tuple[int, int]]:
    """Return image id -> (width, height); logs errors.

    A file under two ids is an error, because it would become two images with half of the objects each.
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
    """Normalise a file name, so that ``./a.png`` and ``a.png`` and both kinds of slashes compare equal."""
    if "\\" in file_name or "./" in file_name or "//" in file_name:
        return str(PurePosixPath(file_name.replace("\\", "/")))
    return file_name


def _whole_side(image: dict, side: str) -> bool:
    """Return whether the side is a valid number of pixels; converts an integral float to int in place."""
    value = image.get(side)
    if isinstance(value, float) and value.is_integer():
        value = image[side] = int(value)
    return type(value) is int and 0 < value <= MAX_SIDE


def _check_name(image: dict, key: int | None, place: str, owner: dict[str, int], log: FindingLog) -> None:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        log.error("'file_name' must be a string", place, shown(image, "file_name"))
        return
    try:
        check_file_name(name, place)
    except UserError as error:
        log.error(str(error).removeprefix(f"{place}: "), place)
        return
    first = owner.setdefault(file_key(name), key)
    if first != key:
        log.error(
            f"image id {first} has the same file name",
            place,
            name,
            "merge the two entries and their objects, or give the two files different names",
        )


def _note_cases(owner: dict[str, int], log: FindingLog) -> None:
    folded: dict[str, str] = {}
    alike = [(first, name) for name in owner if (first := folded.setdefault(name.casefold(), name)) != name]
    if alike:
        log.add(
            "two file names that differ only in upper and lower case",
            [f"{first} and {name}" for first, name in alike[:5]],
            remedy="they are the same file on Windows and macOS",
            severity="note",
            count=len(alike),
        )


def check_regions(images: list[dict], log: FindingLog) -> None:
    """Check ``not_prompted`` of the images: the objects left out of a prompt, as recorded by ``tools/generate.py``."""
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
            type(region["category_id"]) is int
            and len(region["bbox"]) == 4
            and math.isfinite(sum(region["bbox"]))
            for region in regions
        )
    except (KeyError, TypeError, OverflowError):
        return False
