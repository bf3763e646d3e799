"""File names that come out of json files, before anything is read or written under them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from .errors import UserError


def check_file_name(file_name: object, where: str) -> str:
    """``file_name`` if it stays inside its folder.

    Args:
        file_name: a relative path as json files hold it.
        where: the file and entry that the name came from, for the message.

    Raises:
        UserError: it is empty, absolute or climbs out with ``..``.
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
    """Images by their base names without suffix, for files of others that are named after them.

    Args:
        images: COCO image dicts.

    Returns:
        ``(ids, shared)``: stem -> image id where one image alone has it, and stem -> file names where several have.
    """
    owners: dict[str, list[Mapping]] = {}
    for image in images:
        owners.setdefault(PurePosixPath(image["file_name"].replace("\\", "/")).stem, []).append(image)
    ids = {stem: own[0]["id"] for stem, own in owners.items() if len(own) == 1}
    shared = {stem: [image["file_name"] for image in own] for stem, own in owners.items() if len(own) > 1}
    return ids, shared
