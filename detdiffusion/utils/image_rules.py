"""What a run decides about image files, once for every reader: EXIF orientation and images of any size.

The choice lies in environment variables, so that the workers of a data loader and the processes of a torchrun have it
too. Tools take it by :func:`add_image_options`, configs by the variables ``exif_orientation`` and ``huge_images``,
Python by :func:`use_image_rules`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UserError

ORIENTATIONS = ("apply", "ignore")
_ORIENTATION, _HUGE = "DETDIFFUSION_EXIF_ORIENTATION", "DETDIFFUSION_HUGE_IMAGES"


@dataclass(frozen=True)
class ImageRules:
    """The choice.

    Attributes:
        exif_orientation: of an image whose EXIF tag turns or mirrors it: ``apply`` reads it as viewers show it,
            ``ignore`` as it is stored; None refuses it, because boxes may have been drawn either way.
        huge_images: images above 179 megapixels are read too; else they are refused, as Pillow does, which suspects
            files that were made to exhaust the memory.
    """

    exif_orientation: str | None = None
    huge_images: bool = False


def image_rules() -> ImageRules:
    """The rules in force.

    Raises:
        UserError: an environment variable with another value than it may have.
    """
    orientation = os.environ.get(_ORIENTATION) or None
    if orientation not in (None, *ORIENTATIONS):
        raise UserError(f"{_ORIENTATION} must be one of {', '.join(ORIENTATIONS)}, it is {orientation!r}")
    return ImageRules(orientation, os.environ.get(_HUGE, "") not in ("", "0"))


def use_image_rules(exif_orientation: str | None = None, huge_images: bool | None = None) -> None:
    """Chooses for this process and those that it starts; None leaves a rule as it is.

    Args:
        exif_orientation: ``apply`` or ``ignore``, see :class:`ImageRules`.
        huge_images: see :class:`ImageRules`.

    Raises:
        UserError: another value.
    """
    if exif_orientation not in (None, *ORIENTATIONS):
        raise UserError(
            f"exif_orientation must be one of {', '.join(ORIENTATIONS)} or None, got {exif_orientation!r}"
        )
    if not isinstance(huge_images, (bool, type(None))):
        raise UserError(f"huge_images must be True, False or None, got {huge_images!r}")
    if exif_orientation is not None:
        os.environ[_ORIENTATION] = exif_orientation
    if huge_images is not None:
        os.environ[_HUGE] = str(int(huge_images))


def use_rules_of_config(cfg: Mapping, name: str) -> None:
    """:func:`use_image_rules` by a config's variables; an option of the command line may say the same, not other.

    Raises:
        UserError: another value than a variable may have, or than was chosen before.
    """
    wanted, chosen = cfg.get("exif_orientation"), image_rules().exif_orientation
    if None not in (wanted, chosen) and wanted != chosen:
        raise UserError(
            f"config {name}: exif_orientation is {wanted!r}, but --exif-orientation {chosen} was chosen; one run has "
            "one rule"
        )
    use_image_rules(wanted, cfg.get("huge_images") or None)


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """``--exif-orientation`` and ``--huge-images``, in force once they are parsed; not among the parsed values."""
    parser.add_argument(
        "--exif-orientation",
        choices=ORIENTATIONS,
        action=_Choose,
        default=argparse.SUPPRESS,
        help="images that an EXIF tag turns or mirrors: 'apply' for boxes drawn on the image as viewers show it, "
        "'ignore' for boxes on the stored pixels (default: such images are refused)",
    )
    parser.add_argument(
        "--huge-images",
        nargs=0,
        const=True,
        action=_Choose,
        default=argparse.SUPPRESS,
        help="read images above 179 megapixels too: wants memory",
    )


class _Choose(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None) -> None:
        use_image_rules(**{self.dest: self.const if self.nargs == 0 else values})
