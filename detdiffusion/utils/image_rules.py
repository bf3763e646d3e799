"""Settings for reading image files that all readers of a run share: EXIF orientation and a size limit.

The settings are stored in environment variables, so that data loader workers and the processes of a torchrun inherit
them. Tools set them by :func:`add_image_options`, Python code by :func:`use_image_rules`; both apply to the process.
Configs set them by the variables ``exif_orientation`` and ``huge_images``: those of a training or test config apply
until the next one is used (:func:`use_rules_of_config`), those of a detector's config only while it reads images
(:func:`rules_of_config`). A config's settings never apply to another config.
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
    """Settings for reading image files.

    Attributes:
        exif_orientation: how to read an image whose EXIF tag rotates or flips it: ``apply`` as viewers show it,
            ``ignore`` as it is stored; with None such an image is an error, because boxes may have been drawn either
            way.
        huge_images: whether to read images above 179 megapixels. By default they are an error, as in Pillow, since they
            may be decompression bombs.
    """

    exif_orientation: str | None = None
    huge_images: bool = False


def image_rules() -> ImageRules:
    """Return the current settings.

    Raises:
        UserError: if an environment variable has an invalid value.
    """
    orientation = os.environ.get(_ORIENTATION) or None
    if orientation not in (None, *ORIENTATIONS):
        raise UserError(f"{_ORIENTATION} must be one of {', '.join(ORIENTATIONS)}, got {orientation!r}")
    return ImageRules(orientation, os.environ.get(_HUGE, "") not in ("", "0"))


def use_image_rules(exif_orientation: str | None = None, huge_images: bool | None = None) -> None:
    """Sets the rules for this process and its child processes; None leaves a rule unchanged.

    Args:
        exif_orientation: ``apply`` or ``ignore``, see :class:`ImageRules`.
        huge_images: see :class:`ImageRules`.

    Raises:
        UserError: if a value is invalid.
    """
    for name, value in _checked(exif_orientation, huge_images).items():
        _chosen_by.pop(name, None)
        os.environ[name] = value


def use_rules_of_config(cfg: Mapping, name: str) -> None:
    """Applies the rules of a training or test config and reverts those of the previous one.

    Command-line options must agree with the config.

    Args:
        cfg: the config.
        name: name of its file, used in error messages.

    Raises:
        UserError: if a value is invalid, or conflicts with the process's own settings.
    """
    for variable in list(_chosen_by):
        _take_back(variable)
    _choose(cfg, name)


def check_rules_of_config(cfg: Mapping, name: str) -> dict[str, str]:
    """Validate a config's rules and return them as environment variables.

    Args:
        cfg, name: see :func:`use_rules_of_config`.

    Raises:
        UserError: if a value is invalid.
    """
    return _checked(cfg.get("exif_orientation"), cfg.get("huge_images") or None, f"config {name}: ")


@contextlib.contextmanager
def rules_of_config(cfg: Mapping, name: str) -> Iterator[None]:
    """Context manager that applies the rules of a config in addition to the current ones.

    Args:
        cfg, name: see :func:`use_rules_of_config`.

    Raises:
        UserError: if a value is invalid, or conflicts with the settings of the process or of another active config.
    """
    chosen = _choose(cfg, name)
    try:
        yield
    finally:
        for variable in chosen:
            _take_back(variable)


def _choose(cfg: Mapping, name: str) -> list[str]:
    """Set the environment variables of a config's rules that differ from the current ones; return their names."""
    wanted = check_rules_of_config(cfg, name)
    now = image_rules().exif_orientation
    if now and wanted.get(_ORIENTATION, now) != now:
        config = _chosen_by.get(_ORIENTATION, ("", ""))[0]
        chosen = f"config {config} says {now!r}" if config else f"--exif-orientation {now} was chosen"
        raise UserError(
            f"config {name}: exif_orientation is {wanted[_ORIENTATION]!r}, but {chosen}; a run needs a single setting"
        )
    changed = [variable for variable, value in wanted.items() if os.environ.get(variable) != value]
    for variable in changed:
        _chosen_by[variable] = (name, os.environ.get(variable))
        os.environ[variable] = wanted[variable]
    return changed


def _take_back(variable: str) -> None:
    """Restore a variable's value from before a config set it, unless it was set explicitly since."""
    if variable not in _chosen_by:
        return
    _, before = _chosen_by.pop(variable)
    if before is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = before


def _checked(exif_orientation: object, huge_images: object, where: str = "") -> dict[str, str]:
    """Validate rules and return those that are not None as environment variables."""
    if exif_orientation not in (None, *ORIENTATIONS):
        raise UserError(
            f"{where}exif_orientation must be one of {', '.join(ORIENTATIONS)} or None, got {exif_orientation!r}"
        )
    if not isinstance(huge_images, (bool, type(None))):
        raise UserError(f"{where}huge_images must be True, False or None, got {huge_images!r}")
    values = {_ORIENTATION: exif_orientation, _HUGE: None if huge_images is None else str(int(huge_images))}
    return {name: value for name, value in values.items() if value is not None}


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """Adds ``--exif-orientation`` and ``--huge-images``; parsing applies them instead of storing their values."""
    parser.add_argument(
        "--exif-orientation",
        choices=ORIENTATIONS,
        action=_Choose,
        default=argparse.SUPPRESS,
        help="images that an EXIF tag rotates or flips: 'apply' if boxes were drawn on the image as viewers show it, "
        "'ignore' if they were drawn on the stored pixels (default: such images are an error)",
    )
    parser.add_argument(
        "--huge-images",
        nargs=0,
        const=True,
        action=_Choose,
        default=argparse.SUPPRESS,
        help="read images above 179 megapixels too (needs much memory)",
    )


class _Choose(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None) -> None:
        use_image_rules(**{self.dest: self.const if self.nargs == 0 else values})
