"""What a run decides about image files, once for every reader: EXIF orientation and the largest size.

The choice lies in environment variables, so that the workers of a data loader and the processes of a torchrun have it
too. Tools take it by :func:`add_image_options`, configs by the variables ``exif_orientation`` and
``max_image_pixels``, Python by :func:`use_image_rules`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import UserError

ORIENTATIONS = ("apply", "ignore")
DEFAULT_MAX_PIXELS = 178_956_970
"""Pillow's own limit, above which it suspects a file that was made to exhaust the memory."""
_ORIENTATION, _MAX_PIXELS = "DETDIFFUSION_EXIF_ORIENTATION", "DETDIFFUSION_MAX_IMAGE_PIXELS"


@dataclass(frozen=True)
class ImageRules:
    """The choice.

    Attributes:
        exif_orientation: of an image whose EXIF tag turns or mirrors it: ``apply`` reads it as viewers show it,
            ``ignore`` as it is stored; None refuses it, because boxes may have been drawn either way.
        max_pixels: images with more pixels are refused.
    """

    exif_orientation: str | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS


def image_rules() -> ImageRules:
    """The rules in force.

    Raises:
        UserError: an environment variable with another value than it may have.
    """
    orientation, limit = os.environ.get(_ORIENTATION) or None, os.environ.get(_MAX_PIXELS)
    if orientation not in (None, *ORIENTATIONS):
        raise UserError(f"{_ORIENTATION} must be one of {', '.join(ORIENTATIONS)}, it is {orientation!r}")
    if limit and not (limit.isascii() and limit.isdigit() and int(limit)):
        raise UserError(f"{_MAX_PIXELS} must be a positive whole number, it is {limit!r}")
    return ImageRules(orientation, int(limit) if limit else DEFAULT_MAX_PIXELS)


def use_image_rules(exif_orientation: str | None = None, max_image_pixels: int | None = None) -> None:
    """Chooses for this process and those that it starts; None leaves a rule as it is.

    Args:
        exif_orientation: ``apply`` or ``ignore``, see :class:`ImageRules`.
        max_image_pixels: images with more pixels are refused.

    Raises:
        UserError: another value.
    """
    if exif_orientation not in (None, *ORIENTATIONS):
        raise UserError(
            f"exif_orientation must be one of {', '.join(ORIENTATIONS)} or None, got {exif_orientation!r}"
        )
    if max_image_pixels is not None and (type(max_image_pixels) is not int or max_image_pixels < 1):
        raise UserError(f"max_image_pixels must be a positive whole number, got {max_image_pixels!r}")
    if exif_orientation is not None:
        os.environ[_ORIENTATION] = exif_orientation
    if max_image_pixels is not None:
        os.environ[_MAX_PIXELS] = str(max_image_pixels)


def use_rules_of_config(cfg: Mapping, name: str) -> None:
    """:func:`use_image_rules` by a config's variables; an option of the command line may say the same, not other.

    Raises:
        UserError: another value than a variable may have, or than was chosen before.
    """
    wanted = cfg.get("exif_orientation")
    chosen = image_rules().exif_orientation
    if None not in (wanted, chosen) and wanted != chosen:
        raise UserError(
            f"config {name}: exif_orientation is {wanted!r}, but --exif-orientation {chosen} was chosen; one run has "
            "one rule"
        )
    use_image_rules(wanted, cfg.get("max_image_pixels") if _MAX_PIXELS not in os.environ else None)


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """``--exif-orientation`` and ``--max-image-pixels``, in force as soon as they are parsed."""
    parser.add_argument(
        "--exif-orientation",
        choices=ORIENTATIONS,
        action=_Choose,
        help="images that an EXIF tag turns or mirrors: 'apply' for boxes drawn on the image as viewers show it, "
        "'ignore' for boxes on the stored pixels (default: such images are refused)",
    )
    parser.add_argument(
        "--max-image-pixels",
        type=int,
        metavar="N",
        action=_Choose,
        help=f"images with more pixels are refused, default: {DEFAULT_MAX_PIXELS}",
    )


class _Choose(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None) -> None:
        setattr(namespace, self.dest, values)
        try:
            use_image_rules(**{self.dest: values})
        except UserError as error:
            parser.error(str(error))
