"""Image files as RGB pixels of a protocol's size, every conversion counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from detdiffusion.evaluation.protocols import FidProtocol
from detdiffusion.utils.errors import UserError

_FILTERS = {
    name: getattr(Image.Resampling, name.upper()) for name in ("bilinear", "bicubic", "lanczos", "box")
}


def read_rgb(path: str | Path, counts: Counter | None = None) -> Image.Image:
    """An image file as 8-bit RGB.

    Grayscale, palette and CMYK files are converted, transparent pixels are put on white, 16-bit values are cut
    to their upper byte; an EXIF orientation is not applied, because boxes refer to the stored pixels.

    Args:
        path: of the file.
        counts: conversions are added to it by name, and the file's format as ``format NAME``.

    Raises:
        UserError: no such file, or not an image.
    """
    path = Path(path)
    counts = Counter() if counts is None else counts
    try:
        with Image.open(path) as file:
            file.load()
            counts[f"format {file.format}"] += 1
            image = file.copy()
    except FileNotFoundError:
        raise UserError(f"{path}: no such image; correct the image folder or fetch the image again") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}); repair or remove it") from None
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith(("I", "F")):
        counts["16-bit images cut to 8 bit"] += 1
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray((np.clip(values, 0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        counts["images with transparency put on white"] += 1
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    names = {"L": "grayscale", "1": "grayscale", "CMYK": "CMYK", "P": "palette"}
    counts[f"{names.get(image.mode, image.mode)} images converted to RGB"] += 1
    return image.convert("RGB")


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


def conversions(counts: Counter, what: str) -> list[str]:
    """A line for the user for every kind of conversion in ``counts``."""
    return [
        f"{what}: {n} {name}" for name, n in sorted(counts.items()) if n and not name.startswith("format ")
    ]
