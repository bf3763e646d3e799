"""Checks of many image files before a long run: problems, and the conversions that reading applies."""

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

_THREADS = 8  # reading headers is bound by the disk, not by the CPU


@dataclass
class ImageFacts:
    """The results of reading the headers of image files.

    Attributes:
        conversions: name of a conversion of :func:`~detdiffusion.datasets.image_reading.read_image` -> number of files.
        formats: Pillow's name of a format -> number of files.
        sizes: (width, height) -> files.
        unusable: the errors of files that cannot be used.
        not_read: number of files that exist, but were not read because of the time limit.
    """

    conversions: Counter = field(default_factory=Counter)
    formats: Counter = field(default_factory=Counter)
    sizes: dict[tuple[int, int], list[Path]] = field(default_factory=dict)
    unusable: list[ImageError] = field(default_factory=list)
    not_read: int = 0

    def notes(self, what: str) -> list[str]:
        """Return a line for every kind of conversion, prefixed by ``what``."""
        return [f"{what}: {count} {name}" for name, count in sorted(self.conversions.items())]

    def findings(self, folder: str | Path) -> list[Finding]:
        """Return an error for every reason why files cannot be used, and a note for every kind of conversion."""
        groups: dict[tuple[str, str], list[str]] = {}
        for error in self.unusable:
            groups.setdefault((error.reason, error.remedy), []).append(error.where)
        found = [
            Finding(str(folder), some(places), f"image that {reason}", remedy=remedy, count=len(places))
            for (reason, remedy), places in groups.items()
        ]
        notes = dict(sorted(self.conversions.items()))
        if self.not_read:
            notes["image that exists, but whose header was not read for lack of time"] = self.not_read
        return found + [
            Finding(str(folder), "", name, severity="note", count=count) for name, count in notes.items()
        ]


def survey_images(
    paths: Iterable[str | Path],
    images: Iterable[Mapping | None] | None = None,
    seconds: float | None = None,
) -> ImageFacts:
    """Check the headers of image files; decodes a file if its header does not suffice (see ``inspect_header``).

    Args:
        paths: paths of local files.
        images: their COCO dicts, whose sizes the files must have; by default any size is accepted.
        seconds: time limit for reading headers, in random order; after it only the existence of the other files is
            checked. None: no limit.
    """
    paths, facts = list(map(Path, paths)), ImageFacts()
    pairs = list(zip(paths, images if images is not None else [None] * len(paths)))
    end = math.inf
    if seconds is not None:
        end = time.monotonic() + seconds
        random.Random(0).shuffle(pairs)

    def inspect(pair: tuple[Path, Mapping | None]):
        path, image = pair
        if time.monotonic() > end and path.is_file():
            return None
        try:
            return inspect_header(path, image)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        for (path, _), found in zip(pairs, pool.map(inspect, pairs)):
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
    """Check image files as :func:`survey_images` does, and raise if any cannot be used.

    Raises:
        UserError: if files cannot be used; gives the reason for a single file, else the number of files by reason.
    """
    facts = survey_images(paths, images)
    if len(facts.unusable) == 1:
        raise facts.unusable[0]
    raise_errors(facts.findings(some({Path(error.path).parent for error in facts.unusable})))
    return facts


def check_present(images: Sequence[Mapping], folder: str | Path) -> None:
    """Raise a UserError if the folder or images of a COCO file are missing."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such image folder; correct the path")
    missing = [image["file_name"] for image in images if not (folder / image["file_name"]).is_file()]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of {len(images)} images are missing ({some(missing)}); correct the image folder "
            "or add the images"
        )
