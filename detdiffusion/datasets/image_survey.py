"""Many image files, looked at before a long run: what is wrong with them, and what reading does to them."""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.findings import Finding, raise_errors

from .image_reading import ImageError, inspect_header

_THREADS = 8  # a header waits for the disk, not for the processor


@dataclass
class ImageFacts:
    """What the headers of image files say.

    Attributes:
        conversions: what :func:`~detdiffusion.datasets.image_reading.read_image` does to a file -> number of files.
        formats: Pillow's name of a format -> number of files.
        sizes: (width, height) -> the files.
        unusable: of each file that cannot be used, why.
        not_read: files that are there, and no more is known of them: the time was over.
    """

    conversions: Counter = field(default_factory=Counter)
    formats: Counter = field(default_factory=Counter)
    sizes: dict[tuple[int, int], list[Path]] = field(default_factory=dict)
    unusable: list[ImageError] = field(default_factory=list)
    not_read: int = 0

    def notes(self, what: str) -> list[str]:
        """A line for the user for every kind of conversion."""
        return [f"{what}: {count} {name}" for name, count in sorted(self.conversions.items())]

    def findings(self, folder: str | Path) -> list[Finding]:
        """What cannot be used, one finding a reason, and what is converted."""
        groups: dict[tuple[str, str], list[str]] = {}
        for error in self.unusable:
            groups.setdefault((error.reason, error.remedy), []).append(error.where)
        found = [
            Finding(str(folder), some(places), f"image that {reason}", remedy=remedy, count=len(places))
            for (reason, remedy), places in groups.items()
        ]
        notes = dict(sorted(self.conversions.items()))
        if self.not_read:
            notes["image that is there, whose header was not read for want of time"] = self.not_read
        return found + [
            Finding(str(folder), "", name, severity="note", count=count) for name, count in notes.items()
        ]


def survey_images(
    paths: Iterable[str | Path],
    images: Iterable[Mapping | None] | None = None,
    seconds: float | None = None,
) -> ImageFacts:
    """Looks at every file's header; reads a file where that does not tell (see ``inspect_header``).

    Args:
        paths: of local files.
        images: their COCO dicts, whose sizes the files must have; default: any size is right.
        seconds: for reading headers, in a random order; whether files are there is looked at for all. None: no limit.
    """
    paths, facts = list(map(Path, paths)), ImageFacts()
    pairs = list(zip(paths, images if images is not None else [None] * len(paths)))
    end = math.inf
    if seconds is not None:
        end = time.monotonic() + seconds
        random.Random(0).shuffle(pairs)

    def look(pair: tuple[Path, Mapping | None]):
        path, image = pair
        if time.monotonic() > end and path.is_file():
            return None
        try:
            return inspect_header(path, image)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        for (path, _), found in zip(pairs, pool.map(look, pairs)):
            if found is None:
                facts.not_read += 1
                continue
            if isinstance(found, ImageError):
                facts.unusable.append(found)
                continue
            size, kind, names = found
            facts.conversions.update(names)
            facts.formats[kind] += 1
            facts.sizes.setdefault(size, []).append(path)
    return facts


def inspect_images(paths: Iterable[str | Path], images: Iterable[Mapping | None] | None = None) -> ImageFacts:
    """:func:`survey_images` where every file has to be right.

    Raises:
        UserError: files that cannot be used; of one the reason, of several how many for which reason.
    """
    facts = survey_images(paths, images)
    if len(facts.unusable) == 1:
        raise facts.unusable[0]
    raise_errors(facts.findings(some({Path(error.path).parent for error in facts.unusable})))
    return facts


def check_images(images: Sequence[Mapping], folder: str | Path) -> ImageFacts:
    """:func:`inspect_images` of the images of a COCO file.

    Args:
        images: COCO image dicts.
        folder: that ``file_name`` is relative to.

    Raises:
        UserError: no such folder, or files that are missing or cannot be used.
    """
    check_present(images, folder)
    folder = Path(folder)
    return inspect_images([folder / image["file_name"] for image in images], images)


def check_present(images: Sequence[Mapping], folder: str | Path) -> None:
    """Raises UserError where the folder or images of a COCO file are missing."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such image folder; correct the path")
    missing = [image["file_name"] for image in images if not (folder / image["file_name"]).is_file()]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(images)} images are missing ({some(missing)}); correct the image folder "
            "or put them there"
        )
