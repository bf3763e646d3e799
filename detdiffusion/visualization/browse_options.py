"""Options of the sheets that show a data set."""

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
        "attributes file of tools/extract_attributes.py, for the colours of boxes (default: attributes of annotations)",
        metavar="FILE",
    )
    count: int = option(24, "number of images, in the file's order, default: %(default)s", minimum=1)
    image_ids: Sequence[int] | None = option(None, "ids of the images to show", metavar="ID", nargs="+")
    classes: Sequence[str] | None = option(
        None, "show only objects of these classes, and images with such objects", metavar="NAME", nargs="+"
    )
    seed: int | None = option(None, "show images in random order", flag="--shuffle", metavar="SEED")


@documented
@dataclass(frozen=True, kw_only=True)
class SheetOptions(OptionGroup):
    """Appearance of the sheets."""

    per_sheet: int = option(12, "images per sheet, default: %(default)s", minimum=1)
    columns: int = option(4, "images per row, default: %(default)s", minimum=1)
    side: int = option(320, "longer side of an image, default: %(default)s pixels", minimum=1)
    no_masks: bool = option(False, "draw boxes only, no masks")
    layouts_only: bool = option(False, "draw boxes on grey, without reading the images")
