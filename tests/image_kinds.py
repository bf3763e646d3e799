"""Image files of every kind, with the pixels that they hold, for tests of all readers."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

TURN = {  # EXIF orientation -> what a viewer does to the stored rows
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
FORMATS = ("jpeg", "png", "png-late", "png-16", "webp", "tiff", "tiff-lzw", "tiff-16", "tiff-16-grey")
RULES = ("apply", "ignore")  # for the EXIF orientation


def pixels(height=40, width=64):
    """(H, W, 3) uint8 RGB; no turn or mirror image of it is like it."""
    y, x = np.mgrid[:height, :width]
    return np.stack(
        [255 * x // (width - 1), 255 * y // (height - 1), (x + 2 * y) * 255 // (width + 2 * height)], 2
    ).astype(np.uint8)


def oriented(kind, rgb, orientation):
    """Bytes of a file of ``rgb`` with an EXIF orientation."""
    exif = Image.Exif()
    exif[274] = orientation
    deep = (rgb.astype(np.uint16) << 8) | 7
    if kind == "jpeg":
        return saved(rgb, "jpeg", quality=98, subsampling=0, exif=exif)
    if kind == "webp":
        return saved(rgb, "webp", lossless=True, exif=exif)
    if kind.startswith("png"):
        data = cv2.imencode(".png", deep[..., ::-1])[1].tobytes() if kind == "png-16" else saved(rgb, "png")
        return with_chunk(data, b"eXIf", exif.tobytes()[6:], late=kind == "png-late")
    if kind == "tiff-16":
        data = cv2.imencode(".tiff", deep[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()
        return with_tag(data, 274, orientation)
    array = deep[..., 0] if kind == "tiff-16-grey" else rgb
    options = dict(compression="tiff_lzw") if kind == "tiff-lzw" else {}
    return saved(array, "tiff", tiffinfo={274: orientation}, **options)


def saved(array, kind, **options):
    """Bytes by Pillow; ``array`` may be an image."""
    buffer = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def with_chunk(png, name, content, late=False):
    """A PNG with one more chunk, before its pixels or behind them."""
    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    place = len(png) - 12 if late else 33
    return png[:place] + chunk + png[place:]


def with_tag(tiff, tag, value):
    """A little-endian TIFF with a short tag of one value, its directory written anew at its end."""
    (start,) = struct.unpack_from("<I", tiff, 4)
    (count,) = struct.unpack_from("<H", tiff, start)
    entries = [tiff[place : place + 12] for place in range(start + 2, start + 2 + 12 * count, 12)]
    entries = [entry for entry in entries if struct.unpack_from("<H", entry)[0] != tag]
    entries.append(struct.pack("<HHII", tag, 3, 1, value))
    entries.sort(key=lambda entry: struct.unpack_from("<H", entry)[0])
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return tiff[:4] + struct.pack("<I", len(tiff)) + tiff[8:] + directory


def png(width, height, depth, colour, rows, palette=b""):
    """A PNG by its specification: chunks around rows of packed samples."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", head), *([(b"PLTE", palette)] if palette else []), (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def packed(numbers, depth):
    """Rows of numbers as bits, the first in the highest."""
    bits = (numbers[..., None] >> np.arange(depth)[::-1]) & 1
    return [np.packbits(row).tobytes() for row in bits.reshape(len(numbers), -1).astype(np.uint8)]


def difference(a, b):
    """The largest one between the values of two images."""
    return np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max()
