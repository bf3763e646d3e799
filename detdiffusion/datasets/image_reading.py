"""Reading image files as 8-bit RGB; layouts, detectors, evaluation and visualisation all use this reader.

Files are decoded by Pillow, which detects truncated files of every format. Grey, palette, CMYK and one-bit files are
converted, transparent images are composited on white, 16-bit values are cut to the upper eight of the bits that the
file uses, and EXIF orientation is treated as :mod:`~detdiffusion.utils.image_rules` specifies. Each conversion has a
name, so that callers can count it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.image_rules import image_rules

from .deep_images import cut_to_8_bits, is_deep
from .image_ends import seems_cut_off, tells_late
from .jpeg_ends import mended_jpeg
from .transparency import is_transparent, on_white, stretch_transparent_grey

VERSION = 2
"""Increment it when the pixels read from a file change; this invalidates caches computed from them."""
_TURN, _TIFF_SIDES, _FLIP = 274, (256, 257), Image.Transpose
_AS_SHOWN = {
    2: _FLIP.FLIP_LEFT_RIGHT,
    3: _FLIP.ROTATE_180,
    4: _FLIP.FLIP_TOP_BOTTOM,
    5: _FLIP.TRANSPOSE,
    6: _FLIP.ROTATE_270,
    7: _FLIP.TRANSVERSE,
    8: _FLIP.ROTATE_90,
}
_AS_STORED = {**_AS_SHOWN, 6: _FLIP.ROTATE_90, 8: _FLIP.ROTATE_270}
_MODES = {"L": "grayscale", "1": "grayscale", "CMYK": "CMYK", "P": "palette"}
_JPEG = ("JPEG", "MPO")
_XMP = ("xmp", "XML:com.adobe.xmp")
_CHOOSE = (
    "specify --exif-orientation (in a config: exif_orientation): 'apply' if on the image as viewers show it, as most "
    "labelling tools do, 'ignore' if on the stored pixels"
)
_HUGE = "read it with --huge-images (in a config: huge_images = True), or make it smaller"
_MAX_PIXELS = 178_956_970  # Pillow's own limit
_APPLIED = "images turned or mirrored as their EXIF orientation says"
_IGNORED = "images whose EXIF orientation is ignored"


class ImageError(UserError):
    """Raised for an image file that cannot be used.

    Attributes:
        path: path of the file.
        where: path and image id.
        reason: what is wrong, a clause whose subject is the image.
        remedy: what to do.
    """

    path, where, reason, remedy = "", "", "", ""

    @classmethod
    def of(
        cls, path: str | Path, image: Mapping | None, reason: str, remedy: str, detail: str = ""
    ) -> ImageError:
        """Create the error for a file and, optionally, its COCO image dict. (An error from a worker process has only
        the text, not the attributes.)"""
        where = f"{path} (image id {image['id']})" if image else str(path)
        error = cls(f"{where}: {reason}{f' ({detail})' if detail else ''}; {remedy}")
        error.path, error.where, error.reason, error.remedy = str(path), where, reason, remedy
        return error


def read_image(
    path: str | Path, image: Mapping | None = None, exif_orientation: str | None = None
) -> tuple[Image.Image, list[str]]:
    """Read an image file as 8-bit RGB, and list the conversions that were applied.

    Args:
        path: path of a local file.
        image: its COCO dict: ``id`` is used in messages; ``width`` and ``height``, if present, must match the pixels.
        exif_orientation: overrides the run's rule, see :class:`~detdiffusion.utils.image_rules.ImageRules`.

    Returns:
        ``(image, names of conversions)``; the names are plural, for use with a count.

    Raises:
        ImageError: if the file does not exist, is not an image, is truncated, has another size than stated, is rotated
            or flipped by its EXIF tag and there is no rule for this, is too large, or has floating-point or 32-bit
            values.
    """
    with _clear_errors(path, image), open(path, "rb") as stream:
        file, orientation = _opened(stream), 1
        stretch_transparent_grey(file, stream)
        if file.format == "TIFF":  # Pillow rotates these on decoding and removes the tag
            orientation = _orientation(file)
        names = _conversions(file, path, image)
        deep, turned = is_deep(file), file.format == "TIFF"
        file = _decoded(file, stream, path)
        if not turned:
            orientation = _orientation(file)
        rule = _rule(orientation, path, image, exif_orientation)
        picture = file
        if deep:
            picture, bits, turned_here = cut_to_8_bits(file, stream)
            turned = turned and turned_here
            names.append(
                "16-bit images cut to 8 bit" if bits == 16 else f"16-bit images of {bits} bits cut to 8 bit"
            )
    if orientation != 1:
        names.append(_APPLIED if rule == "apply" else _IGNORED)
        if turned != (rule == "apply"):
            picture = picture.transpose((_AS_SHOWN if rule == "apply" else _AS_STORED)[orientation])
    _check_size(picture.size, orientation, path, image)
    try:
        return on_white(picture), names
    except ValueError as error:
        reason = "has colours that cannot be converted to RGB"
        raise ImageError.of(path, image, reason, "save it as RGB", str(error)) from None


def read_rgb(path: str | Path, image: Mapping | None = None) -> Image.Image:
    """Read an image file as 8-bit RGB, see :func:`read_image`."""
    return read_image(path, image)[0]


def read_bgr(
    path: str | Path,
    image: Mapping | None = None,
    size: int | None = None,
    exif_orientation: str | None = None,
) -> np.ndarray:
    """Read an image file as a BGR array, as used by OpenCV and mmdet.

    Args:
        path, image, exif_orientation: see :func:`read_image`.
        size: side of the square to resize the image to (Pillow, bicubic); None keeps the file's size.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    import cv2

    picture, _ = read_image(path, image, exif_orientation)
    if size is not None:
        picture = picture.resize((size, size), Image.Resampling.BICUBIC)
    return cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR)


def resize_pixels(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a copy of an image (H, W, 3) with height and width ``size``; fewer pixels are averages, more bicubic."""
    import cv2

    if pixels.shape[:2] == tuple(size):
        return pixels.copy()
    fewer = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
    return cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_AREA if fewer else cv2.INTER_CUBIC)


def inspect_header(path: str | Path, image: Mapping | None = None) -> tuple[tuple[int, int], str, list[str]]:
    """Check an image file as :func:`read_image` does, but only by its header if that suffices.

    The file is decoded if it seems truncated or if its conversion depends on the pixel values.

    Returns:
        ``((width, height), Pillow's name of the format, names of conversions)``.

    Raises:
        ImageError: as :func:`read_image`.
    """
    with _clear_errors(path, image), open(path, "rb") as stream:
        file = _opened(stream)
        names, kind = _conversions(file, path, image), str(file.format)
        if is_deep(file) or tells_late(file, stream) or seems_cut_off(file, stream):
            picture, names = read_image(path, image)
            return picture.size, kind, names
        orientation, size = _orientation(file), _stored_size(file)
        rule = _rule(orientation, path, image)
    if orientation >= 5 and rule == "apply":
        size = size[::-1]
    if orientation != 1:
        names.append(_APPLIED if rule == "apply" else _IGNORED)
    _check_size(size, orientation, path, image)
    return size, kind, names


def image_size(path: str | Path, decode: bool = True) -> tuple[int, int]:
    """Return width and height in pixels of an image as the library reads it.

    Args:
        path: path of a local file.
        decode: decode the entire file instead of reading only its header.

    Raises:
        ImageError: as :func:`read_image`.
    """
    return read_rgb(path).size if decode else inspect_header(path)[0]


def reading_identity() -> dict[str, Any]:
    """Return what determines an image's pixels besides its file, for cache keys."""
    return dict(version=VERSION, exif_orientation=image_rules().exif_orientation)


@contextlib.contextmanager
def _clear_errors(path: str | Path, image: Mapping | None) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        remedy = "correct the image folder or fetch the image again"
        raise ImageError.of(path, image, "is missing", remedy, "no such file") from None
    except Image.DecompressionBombError as error:
        raise ImageError.of(path, image, "is too large", _HUGE, str(error)) from None
    except Exception as error:  # Pillow's plugins can raise anything for a damaged file
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "truncated" in detail.lower():
            reason = "is cut off, a part of the image is missing"
            remedy = "fetch it again or remove it from the annotation file"
            raise ImageError.of(path, image, reason, remedy) from None
        detail = "unknown format" if isinstance(error, UnidentifiedImageError) else detail
        remedy = "repair it or remove it from the annotation file"
        raise ImageError.of(path, image, "cannot be read as an image", remedy, detail) from None


def _opened(stream: BinaryIO) -> Image.Image:
    huge = image_rules().huge_images
    if huge:
        Image.MAX_IMAGE_PIXELS = None
    file = Image.open(stream)
    if not huge and file.width * file.height > _MAX_PIXELS:  # Pillow's limit may have been lifted elsewhere
        raise Image.DecompressionBombError(f"{file.width * file.height} pixels, the limit is {_MAX_PIXELS}")
    return file


def _decoded(file: Image.Image, stream: BinaryIO, path: str | Path) -> Image.Image:
    """Decode a file; also accepts a JPEG that lacks only its end marker."""
    failure = None
    try:
        file.load()
    except OSError as error:
        failure = error
    data = mended_jpeg(stream, path) if file.format in _JPEG else None
    if data is None:
        if failure is not None:
            raise failure
        return file
    file = Image.open(data)
    file.load()
    return file


def _orientation(file: Image.Image) -> int:
    """Return the orientation in the EXIF data only, as viewers and OpenCV do; new versions of Pillow also use XMP."""
    for key in _XMP:
        file.info.pop(key, None)
    try:
        if file.format == "TIFF":
            tags = file.tag_v2
        elif "exif" in file.info:
            tags = Image.Exif()
            tags.load(file.info["exif"])
        else:  # may be in a PNG's text chunk; PngImageFile.getexif would decode the file
            tags = Image.Image.getexif(file)
        value = tags.get(_TURN)
    except Exception:  # damaged EXIF data is ignored
        return 1
    return value if value in _AS_SHOWN else 1


def _stored_size(file: Image.Image) -> tuple[int, int]:
    """Return the stored width and height of an opened file; for TIFF, new versions of Pillow give the rotated size."""
    return tuple(file.tag_v2[tag] for tag in _TIFF_SIDES) if file.format == "TIFF" else file.size


def _rule(
    orientation: int, path: str | Path, image: Mapping | None, override: str | None = None
) -> str | None:
    """Return 'apply' or 'ignore', or None for an image that is not rotated or flipped."""
    if orientation == 1:
        return None
    rule = override or image_rules().exif_orientation
    if rule is not None:
        return rule
    reason = "is turned or mirrored by its EXIF orientation, and it is unknown which way its boxes were drawn"
    raise ImageError.of(path, image, reason, _CHOOSE, f"orientation {orientation}")


def _check_size(size: tuple[int, int], orientation: int, path: str | Path, image: Mapping | None) -> None:
    stated = image and (image.get("width"), image.get("height"))
    if not stated or not all(stated) or stated == size:
        return
    detail = (
        f"the file has {size[0]} x {size[1]} pixels, but the annotation file says {stated[0]} x {stated[1]}"
    )
    if orientation >= 5 and stated == size[::-1]:
        detail += ": with the other --exif-orientation they agree"
    raise ImageError.of(
        path, image, "has another size than the annotation file says", "correct one of them", detail
    )


def _conversions(file: Image.Image, path: str | Path, image: Mapping | None) -> list[str]:
    """Return the names of the conversions of an opened file to RGB, except those that depend on its pixels."""
    if file.mode == "F":
        reason, remedy = "holds floating-point values, whose range is unknown", "save it as 8-bit RGB"
        raise ImageError.of(path, image, reason, remedy)
    if file.mode == "I" and file.format not in ("PNG", "PPM"):
        raise ImageError.of(
            path, image, "holds 32-bit values, whose range is unknown", "save it as 8-bit RGB"
        )
    names = []
    if getattr(file, "is_animated", False) and file.format not in _JPEG:  # cameras append previews to a JPEG
        names.append("images of several frames or pages, the first is taken")
    if is_transparent(file):
        names.append("images with transparency put on white")
    elif file.mode != "RGB" and not is_deep(file):
        names.append(f"{_MODES.get(file.mode, file.mode)} images converted to RGB")
    return names
