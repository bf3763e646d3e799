"""What a run decides about image files, once for every reader: EXIF orientation and images of any size.

The choice lies in environment variables, so that the workers of a data loader and the processes of a torchrun have it
too. Tools take it by :func:`add_image_options`, Python by :func:`use_image_rules`; both hold for the process. Configs
have the variables ``exif_orientation`` and ``huge_images``: those of a training or test hold until the next one
(:func:`use_rules_of_config`), those of a detector while it reads images (:func:`rules_of_config`). What a config chose
never holds for another config.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .errors import UserError

ORIENTATIONS = ("apply", "ignore")
_ORIENTATION, _HUGE = "DETDIFFUSION_EXIF_ORIENTATION", "DETDIFFUSION_HUGE_IMAGES"
_chosen_by: dict[str, tuple[str, str | None]] = {}  # variable -> the config that set it, its value before


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
    for name, value in _checked(exif_orientation, huge_images).items():
        _chosen_by.pop(name, None)
        os.environ[name] = value


def use_rules_of_config(cfg: Mapping, name: str) -> None:
    """Takes the rules of the config of a training or test, in place of those of the config before it.

    An option of the command line may say the same as the config, not other.

    Args:
        cfg: the config.
        name: of its file, for messages.

    Raises:
        UserError: another value than a variable may have, or than was chosen for the process.
    """
    for variable in list(_chosen_by):
        _take_back(variable)
    _choose(cfg, name)


def check_rules_of_config(cfg: Mapping, name: str) -> dict[str, str]:
    """The environment variables that a config's rules stand for.

    Args:
        cfg, name: see :func:`use_rules_of_config`.

    Raises:
        UserError: another value than a variable may have.
    """
    return _checked(cfg.get("exif_orientation"), cfg.get("huge_images") or None, f"config {name}: ")


@contextlib.contextmanager
def rules_of_config(cfg: Mapping, name: str) -> Iterator[None]:
    """While it lasts, the rules of a config hold beside those in force.

    Args:
        cfg, name: see :func:`use_rules_of_config`.

    Raises:
        UserError: as there; rules of another config that is in force must agree too.
    """
    chosen = _choose(cfg, name)
    try:
        yield
    finally:
        for variable in chosen:
            _take_back(variable)


def _choose(cfg: Mapping, name: str) -> list[str]:
    """Sets the variables that a config sets and nothing has set yet; returns them."""
    wanted = check_rules_of_config(cfg, name)
    now = image_rules().exif_orientation
    if now and wanted.get(_ORIENTATION, now) != now:
        config = _chosen_by.get(_ORIENTATION, ("", ""))[0]
        chosen = f"config {config} says {now!r}" if config else f"--exif-orientation {now} was chosen"
        raise UserError(
            f"config {name}: exif_orientation is {wanted[_ORIENTATION]!r}, but {chosen}; one run has one rule"
        )
    changed = [variable for variable, value in wanted.items() if os.environ.get(variable) != value]
    for variable in changed:
        _chosen_by[variable] = (name, os.environ.get(variable))
        os.environ[variable] = wanted[variable]
    return changed


def _take_back(variable: str) -> None:
    """As it was before a config set it; nothing where another choice was made since."""
    if variable not in _chosen_by:
        return
    _, before = _chosen_by.pop(variable)
    if before is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = before


def _checked(exif_orientation: object, huge_images: object, where: str = "") -> dict[str, str]:
    """The environment variables of rules that are not None."""
    if exif_orientation not in (None, *ORIENTATIONS):
        raise UserError(
            f"{where}exif_orientation must be one of {', '.join(ORIENTATIONS)} or None, got {exif_orientation!r}"
        )
    if not isinstance(huge_images, (bool, type(None))):
        raise UserError(f"{where}huge_images must be True, False or None, got {huge_images!r}")
    values = {_ORIENTATION: exif_orientation, _HUGE: None if huge_images is None else str(int(huge_images))}
    return {name: value for name, value in values.items() if value is not None}


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
