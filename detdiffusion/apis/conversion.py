"""What the converters to COCO share: the options of their output, and the report of what was written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detdiffusion.utils.option_groups import OptionGroup, documented, option

if TYPE_CHECKING:
    from detdiffusion.datasets.formats.conversion import Conversion


@documented
@dataclass(frozen=True, kw_only=True)
class OutputOptions(OptionGroup):
    """The COCO set that a converter writes."""

    out: str = option(help="folder of the COCO set", metavar="DIR")
    images: str = option(
        "link", "how OUT/images is filled, default: %(default)s", choices=("link", "copy", "none")
    )
    no_decode: bool = option(False, "read image headers only: quick, misses cut-off files")


def write_and_report(converted: Conversion, output: OutputOptions) -> None:
    """Writes the set and prints what it has and what was left out.

    Raises:
        UserError: nothing to write, or a place that cannot be written.
    """
    written = converted.write(output.out, output.images)
    print(converted.summary())
    objects = Counter(annotation["image_id"] for annotation in converted.annotations)
    for split, path in written.items():
        ids = converted.splits[split]
        print(f"written: {path} ({len(ids)} images, {sum(objects[i] for i in ids)} objects)")
