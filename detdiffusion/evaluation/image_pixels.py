"""Image files as RGB pixels, for every metric alike: one reader, every conversion counted."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from detdiffusion.evaluation.protocols import FidProtocol
from detdiffusion.utils.errors import UserError

_FILTERS = {
    name: getattr(Image.Resampling, name.upper()) for name in ("bilinear", "bicubic", "lanczos", "box")
}
_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_MODES = {"L": "grayscale", "1": "grayscale", "CMYK": "CMYK", "P": "palette"}

_SIXTEEN_BITS = ("PNG", "PPM")  # formats without 32-bit values: their mode I (older Pillow) holds 16 bits


@dataclass(frozen=True)
class ImageFacts:
    """What the headers of image files say.

    Attributes:
        conversions: what :func:`read_rgb` does to a file -> number of files.
        formats: Pillow's name of a format -> number of files.
        sizes: (width, height) -> the files.
    """

    conversions: Counter
    formats: Counter
    sizes: dict[tuple[int, int], list[Path]]

    def notes(self, what: str) -> list[str]:
        """A line for the user for every kind of conversion."""
        return [f"{what}: {count} {name}" for name, count in sorted(self.conversions.items())]


def inspect_images(paths: Iterable[str | Path]) -> ImageFacts:
    """Opens the header of every file.

    Raises:
        UserError: no such file, not an image, or one of floating-point or 32-bit values.
    """
    conversions, formats = Counter(), Counter()
    sizes: dict[tuple[int, int], list[Path]] = {}
    for path in map(Path, paths):
        with _opened(path) as image:
            if name := _conversion(image, path):
                conversions[name] += 1
            formats[str(image.format)] += 1
            sizes.setdefault(image.size, []).append(path)
    return ImageFacts(conversions, formats, sizes)


def read_rgb(path: str | Path) -> Image.Image:
    """An image file as 8-bit RGB.

    Grayscale, palette and CMYK files are converted, transparent pixels are put on white, 16-bit values are cut
    to their upper byte; an EXIF orientation is not applied, because boxes refer to the stored pixels.
    :func:`inspect_images` counts all that.

    Raises:
        UserError: no such file, not an image, a damaged one, or one of floating-point or 32-bit values.
    """
    path = Path(path)
    with _opened(path) as file:
        name = _conversion(file, path)
        file.load()
        image = file.copy()
    if name is None:
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((np.clip(values, 0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if _is_transparent(image):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def read_bgr(path: str | Path, size: int | None = None) -> np.ndarray:
    """:func:`read_rgb` as OpenCV and mmdet have it.

    Args:
        path: of the file.
        size: side of the square that Pillow's bicubic ``resize`` stretches it to; None keeps the file's size.

    Returns:
        (H, W, 3) uint8, BGR.
    """
    image = read_rgb(path)
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])


def protocol_pixels(image: Image.Image, protocol: FidProtocol, size: tuple[int, int]) -> np.ndarray:
    """An image as the extractor gets it.

    Args:
        image: RGB.
        protocol: its filter and ``extractor_size``.
        size: (height, width) of the first step.

    Returns:
        (H, W, 3) uint8.
    """
    for height, width in filter(None, (size, protocol.extractor_size)):
        if image.size != (width, height):
            image = image.resize((width, height), _FILTERS[protocol.resample])
    return np.array(image)


def check_real_images(images: Sequence[Mapping], folder: Path, option: str = "--real-images") -> None:
    """The source images are there and have the size that the annotation file says.

    Args:
        images: COCO image dicts.
        folder: of their files.
        option: that names the folder, for messages.

    Raises:
        UserError: a file is missing, no image, or of another size.
    """
    missing = [image["file_name"] for image in images if not (folder / image["file_name"]).is_file()]
    if missing:
        raise UserError(
            f"real: {folder}: {len(missing)} of {len(images)} real images are missing, the first {missing[0]}; give "
            f"their folder by {option}: the bound is always in the table"
        )
    for image in images:
        path = folder / image["file_name"]
        with _opened(path) as file:
            width, height = file.size
        if (width, height) != (image["width"], image["height"]):
            raise UserError(
                f"real: {path}: has {width} x {height} pixels, but the annotation file says {image['width']} x "
                f"{image['height']}; is it the folder of the real images?"
            )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path}: no such image; correct the image folder or fetch the image again") from None
    except UserError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}); repair or remove it") from None


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in _WITH_ALPHA or "transparency" in image.info


def _conversion(image: Image.Image, path: Path) -> str | None:
    """How an opened file becomes RGB, in words; None for one that is RGB already."""
    if image.mode == "F":
        raise UserError(
            f"{path}: holds floating-point values, whose range nobody knows; save it as 8-bit RGB"
        )
    if image.mode == "I" and image.format not in _SIXTEEN_BITS:
        raise UserError(f"{path}: holds 32-bit values, whose range nobody knows; save it as 8-bit RGB")
    if _is_transparent(image):
        return "images with transparency put on white"
    if image.mode == "RGB":
        return None
    if image.mode.startswith("I"):
        return "16-bit images cut to 8 bit"
    return f"{_MODES.get(image.mode, image.mode)} images converted to RGB"
