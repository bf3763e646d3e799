"""The paper's trainability subset, "images with 3 to 8 objects", in its six possible interpretations.

The paper (4.1) gives 47,429 images with 210,893 objects of COCO 2017 train. It does not say whether stuff or small
objects count, nor whether small objects are removed before or after counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detdiffusion.utils.tables import format_table

from .coco_json import CocoFile, merge_checked, read_coco

PAPER = (47_429, 210_893)
MIN_OBJECTS, MAX_OBJECTS = 3, 8
MIN_AREA_RATIO = 0.02
DROPPED_CLASSES = ("other",)


@dataclass(frozen=True)
class Reading:
    """One interpretation of the paper's description.

    Attributes:
        stuff: whether stuff regions count as objects.
        min_area_ratio: objects up to this share of the image's area are removed.
        images, objects: number of remaining images and objects.
        counted_first: whether images are chosen by their objects of any size, and small objects removed after that.
    """

    stuff: bool
    min_area_ratio: float
    images: int
    objects: int
    counted_first: bool = False

    @property
    def name(self) -> str:
        """A description of the interpretation."""
        size = f"above {self.min_area_ratio:.0%} of the image" if self.min_area_ratio else "of any size"
        after = ", left out after counting" if self.counted_first else ""
        return f"{'things and stuff' if self.stuff else 'things'} {size}{after}"


def count_readings(
    instances: str | Path, stuff: str | Path | None = None
) -> tuple[list[Reading], list[CocoFile]]:
    """Count images and objects of all interpretations: no crowds, no class ``other``, images with 3 to 8 objects.

    Args:
        instances: COCO json of the things.
        stuff: COCO json of the stuff; None skips the interpretations with stuff.

    Returns:
        The interpretations, and the files that were read.

    Raises:
        UserError: if a file is missing or broken, or the two files contradict each other.
    """
    things = read_coco(instances)
    files = [things] if stuff is None else [things, read_coco(stuff)]
    images, categories, annotations = merge_checked(files)
    thing_ids = {category["id"] for category in things.categories}
    dropped = {key for key, category in categories.items() if category["name"] in DROPPED_CLASSES}
    position = {key: i for i, key in enumerate(images)}
    area = {key: image["width"] * image["height"] for key, image in images.items()}
    kept = [
        (
            position[a["image_id"]],
            a["bbox"][2] * a["bbox"][3] / area[a["image_id"]],
            a["category_id"] in thing_ids,
        )
        for a in annotations
        if not a["iscrowd"] and not a.get("ignore") and a["category_id"] not in dropped
    ]
    owner, ratio, is_thing = (np.array(column) for column in zip(*kept)) if kept else (np.zeros(0),) * 3
    readings = []
    for with_stuff in (False, True) if stuff is not None else (False,):
        of_kind = is_thing.astype(bool) | with_stuff
        per_image = {
            limit: np.bincount(owner[of_kind & (ratio > limit)].astype(np.int64), minlength=len(images))
            for limit in (MIN_AREA_RATIO, 0.0)
        }
        for limit, counted in ((MIN_AREA_RATIO, MIN_AREA_RATIO), (0.0, 0.0), (MIN_AREA_RATIO, 0.0)):
            chosen = (per_image[counted] >= MIN_OBJECTS) & (per_image[counted] <= MAX_OBJECTS)
            left = per_image[limit][chosen & (per_image[limit] > 0)]
            readings.append(Reading(with_stuff, limit, len(left), int(left.sum()), counted != limit))
    return readings, files


def format_readings(readings: Sequence[Reading]) -> str:
    """Format the counts and the paper's as a table; the first interpretation is the one that the configs use."""
    rows = [("reading", "images", "objects", "objects an image")]
    for index, reading in enumerate(readings):
        mean = f"{reading.objects / reading.images:.2f}" if reading.images else "-"
        name = reading.name + (" (used by the configs)" if index == 0 else "")
        rows.append((name, f"{reading.images:,}", f"{reading.objects:,}", mean))
    rows.append(
        ("the paper, COCO 2017 train", f"{PAPER[0]:,}", f"{PAPER[1]:,}", f"{PAPER[1] / PAPER[0]:.2f}")
    )
    return format_table(rows)
