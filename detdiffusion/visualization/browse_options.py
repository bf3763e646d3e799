"""Settings of the sheets that show a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.utils.option_groups import OptionGroup, documented, option


@documented
@dataclass(frozen=True, kw_only=True)
class ShownImages(OptionGroup):
    """Which images and objects are shown."""

    attributes: str | Path | None = option(
        None,
        "of tools/extract_attributes.py; colours the boxes (default: the annotations' own)",
        metavar="FILE",
    )
    count: int = option(24, "images in all, in the file's order, default: %(default)s", minimum=1)
    image_ids: Sequence[int] | None = option(None, "these images", metavar="ID", nargs="+")
    classes: Sequence[str] | None = option(
        None, "only images with an object of these classes, and only those objects", metavar="NAME", nargs="+"
    )
    seed: int | None = option(None, "images in a random order", flag="--shuffle", metavar="SEED")


@documented
@dataclass(frozen=True, kw_only=True)
class SheetOptions(OptionGroup):
    """How a sheet looks."""

    per_sheet: int = option(12, "images a sheet, default: %(default)s", minimum=1)
    columns: int = option(4, "images a row, default: %(default)s", minimum=1)
    side: int = option(320, "longer side of an image, default: %(default)s pixels", minimum=1)
    no_masks: bool = option(False, "boxes only; segmentations are not tinted")
    layouts_only: bool = option(False, "boxes on grey; no image is read")
