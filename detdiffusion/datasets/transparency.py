"""Detection of transparency in image files of all kinds, and compositing on white."""

from __future__ import annotations

from typing import BinaryIO

from PIL import Image

from .image_ends import png_chunks

_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_STRAIGHT = {"La": "LA", "RGBa": "RGBA"}


def is_transparent(file: Image.Image) -> bool:
    """Return whether a file has an alpha channel, a palette with alpha, or a transparent colour."""
    if file.mode in _WITH_ALPHA or "transparency" in file.info:
        return True
    return file.mode == "P" and file.palette is not None and file.palette.mode.endswith("A")


def stretch_transparent_grey(file: Image.Image, stream: BinaryIO) -> None:
    """Scale the transparent grey of a PNG file of 1, 2 or 4 bits to 8 bits, as Pillow does with the pixels only.

    Args:
        file: the opened file, not decoded; changed in place.
        stream: stream of the file.
    """
    if file.format != "PNG" or file.mode not in ("1", "L") or "transparency" not in file.info:
        return
    depth, value, place = 8, 0, stream.tell()
    for name, _, start in png_chunks(stream):
        stream.seek(start)
        if name == b"IHDR":
            depth = stream.read(9)[8]
        elif name == b"tRNS":
            value = int.from_bytes(stream.read(2), "big")
    stream.seek(place)
    file.info["transparency"] = value * (255 // (2**depth - 1))


def on_white(picture: Image.Image) -> Image.Image:
    """Convert a decoded image to RGB, compositing transparent pixels on white.

    Raises:
        ValueError: if Pillow cannot convert its colours.
    """
    if is_transparent(picture):
        picture = picture.convert(_STRAIGHT.get(picture.mode, picture.mode)).convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture if picture.mode == "RGB" else picture.convert("RGB")
