"""Groups of images that show the same scene: frames of a video, and augmented copies of one photograph, by their names.

Such images must not be divided between training and validation, because a model that has seen one knows the others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from detdiffusion.utils.errors import UserError

_COPY = re.compile(
    r"^(?P<source>.+?)[_.](?:jpe?g|png|bmp|webp|tiff?|gif|heic)\.rf\.[0-9A-Za-z]{8,}$", re.IGNORECASE
)
_FRAME = re.compile(r"^(?P<sequence>.*?)[ _.-]*(?:frame|img|f)?[ _.-]*(?P<number>\d+)$", re.IGNORECASE)


def source_of(file_name: str) -> str:
    """Return the name, with folder and without suffix, of the photograph that an image is a copy of.

    Roboflow names augmented copies ``name_jpg.rf.HASH.jpg``; other images are their own source.
    """
    path = PurePosixPath(file_name.replace("\\", "/"))
    found = _COPY.match(path.stem)
    return (path.parent / (found["source"] if found else path.stem)).as_posix()


def frame_of(file_name: str) -> tuple[str, int] | None:
    """Return the sequence that a numbered image belongs to and its number (``clip_000123.jpg``: ``("clip", 123)``).

    The folder is part of the sequence. Returns None for images without a number at the end of their names.
    """
    source = PurePosixPath(source_of(file_name))
    found = _FRAME.match(source.name)
    if found is None or len(found["number"]) > 18:
        return None
    return (source.parent / found["sequence"]).as_posix(), int(found["number"])


def groups_by_pattern(file_names: Sequence[str], pattern: str) -> list[str]:
    """Return the group of every image by a regular expression.

    Args:
        file_names: names with folders.
        pattern: searched in the name; the group is its first parenthesis, or the whole match without one. An image that
            does not match is a group of its own.

    Raises:
        UserError: if the expression is invalid or matches no name.
    """
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise UserError(f"`groups`: {pattern!r} is not a regular expression: {error}") from None
    found = [search(name) for name in file_names]
    if not any(found):
        raise UserError(
            f"`groups`: {pattern!r} matches none of the {len(found)} file names (such as {file_names[0]})"
        )
    return [
        f"image {name}" if hit is None else hit.group(1 if hit.re.groups else 0) or ""
        for hit, name in zip(found, file_names)
    ]


def sequences_of(file_names: Sequence[str]) -> list[tuple[str, int] | None]:
    """Return the sequence and number of every image, see :func:`frame_of`; None for one that is in no sequence.

    Numbers at irregular distances, such as ids, are no sequence.
    """
    frames = [frame_of(name) for name in file_names]
    numbers: dict[str, set[int]] = {}
    for frame in filter(None, frames):
        numbers.setdefault(frame[0], set()).add(frame[1])
    regular = {sequence for sequence, found in numbers.items() if _is_regular(sorted(found))}
    return [frame if frame and frame[0] in regular else None for frame in frames]


def _is_regular(numbers: Sequence[int]) -> bool:
    """Return whether at least half of the distances between sorted numbers are the same."""
    distances = Counter(later - earlier for earlier, later in zip(numbers, numbers[1:]))
    return bool(distances) and 2 * distances.most_common(1)[0][1] >= distances.total()
