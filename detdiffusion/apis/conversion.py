"""What the converters to COCO share: the options of their output, and the report of what was written."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING

from detdiffusion.utils.image_rules import add_image_options

if TYPE_CHECKING:
    from detdiffusion.datasets.formats.conversion import Conversion


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """``--out``, ``--images``, ``--no-decode`` and the rules of :mod:`~detdiffusion.utils.image_rules`."""
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the COCO set")
    parser.add_argument(
        "--images",
        choices=["link", "copy", "none"],
        default="link",
        help="how OUT/images is filled, default: %(default)s",
    )
    parser.add_argument(
        "--no-decode", action="store_true", help="read image headers only: quick, misses cut-off files"
    )
    add_image_options(parser)


def write_and_report(converted: Conversion, args: argparse.Namespace) -> None:
    """Writes the set by the options of :func:`add_output_arguments` and prints what it has and what was left out.

    Raises:
        UserError: nothing to write, or a place that cannot be written.
    """
    written = converted.write(args.out, args.images)
    print(converted.summary())
    objects = Counter(annotation["image_id"] for annotation in converted.annotations)
    for split, path in written.items():
        ids = converted.splits[split]
        print(f"written: {path} ({len(ids)} images, {sum(objects[i] for i in ids)} objects)")
