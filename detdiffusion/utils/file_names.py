"""Validation and matching of file names from json files, before they are used to read or write files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from .errors import UserError


def check_file_name(file_name: object, where: str) -> str:
    """Return ``file_name`` after checking that it stays inside its folder.

    Args:
        file_name: a relative path from a json file.
        where: the file and entry that the name comes from, used in the error message.

    Raises:
        UserError: if it is empty, absolute or contains ``..``.
    """
    if not isinstance(file_name, str) or not file_name or "\0" in file_name:
        raise UserError(f"{where}: file_name must be a non-empty string, got {file_name!r}")
    path = PurePosixPath(file_name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", file_name):
        raise UserError(
            f"{where}: file_name {file_name!r} leaves its folder; names must be relative and without '..'"
        )
    return file_name


def ids_by_stem(images: Iterable[Mapping]) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Index images by stem (base name without suffix), to match files from elsewhere that are named after them.

    Args:
        images: COCO image dicts.

    Returns:
        ``(ids, shared)``: stem -> image id for stems of a single image, and stem -> file names for stems that several
        images share.
    """
    groups: dict[str, list[Mapping]] = {}
    for image in images:
        groups.setdefault(PurePosixPath(image["file_name"].replace("\\", "/")).stem, []).append(image)
    ids = {stem: group[0]["id"] for stem, group in groups.items() if len(group) == 1}
    shared = {
        stem: [image["file_name"] for image in group] for stem, group in groups.items() if len(group) > 1
    }
    return ids, shared
