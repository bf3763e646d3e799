"""What follows from the labels: image sizes, location grid, prompt length, filter, flips. Pure functions.

All areas are shares of an image, all sizes pixels unless stated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

PIXELS_PER_BIN = 4
"""Side of a cell of the location grid."""
MOST_OBJECTS = 60
"""Objects in a layout; as prompts, more are not told apart by a small text encoder."""
PREFIX_TOKENS = 5
"""Start, ``An image with``, and end."""
OBJECT_TOKENS = 3
"""Two corners and an attribute; the words of the class come on top."""
MIN_FOR_FLIPS = 50
"""Images needed to tell that a set has no upper side."""


def image_size(width: float, height: float, area: float, divisor: int) -> tuple[int, int]:
    """Return the (height, width) of generated images.

    Both are multiples of ``divisor``. Of all such sizes with 0.5 to 1.5 times ``area``, that with the smallest
    distance ``|log aspect ratio| + 0.25 |log area|`` from the wanted ones is taken; the smaller one of two equal ones.

    Args:
        width, height: typical size of the real images, whose aspect ratio is kept.
        area: wanted number of pixels; not more than the real images have.
        divisor: e.g. 8 times 2 for each halving in the UNet.
    """
    area = min(area, width * height)
    longest = max(1, round(math.sqrt(area) * 3 / divisor))
    sides = [divisor * k for k in range(1, longest + 1)]
    fits = [(h, w) for h in sides for w in sides if 0.5 * area <= h * w <= 1.5 * area]

    def distance(size: tuple[int, int]) -> float:
        h, w = size
        return abs(math.log(w / h * height / width)) + 0.25 * abs(math.log(h * w / area))

    return min(fits or [(divisor, divisor)], key=lambda size: (round(distance(size), 9), size))


def detector_scale(width: float, height: float, area: float) -> tuple[int, int]:
    """Return the (width, height) that detectors see, in multiples of 8.

    The aspect ratio is the real one; large images are reduced to ``area`` pixels, and small ones enlarged up to that by
    at most 1.5, for more cells an object.
    """
    factor = min(1.5, math.sqrt(area / (width * height)))
    return max(8, 8 * round(width * factor / 8)), max(8, 8 * round(height * factor / 8))


def location_bins(size: tuple[int, int]) -> tuple[int, int]:
    """Return (rows, columns) of the location grid for a (height, width): one per 4 pixels."""
    return size[0] // PIXELS_PER_BIN, size[1] // PIXELS_PER_BIN


def smallest_object(size: tuple[int, int], factor: int) -> float:
    """Return the share of the image that half a cell of the latents covers; smaller objects cannot be drawn.

    Args:
        size: (height, width) of generated images.
        factor: pixels per side of a cell.
    """
    return round(0.5 * factor**2 / (size[0] * size[1]), 6)


def most_objects(counts: Sequence[int]) -> int:
    """Return the objects that a prompt must hold: those of 99 % of the images, at most :data:`MOST_OBJECTS`."""
    if not len(counts):
        return 1
    enough = int(np.quantile(np.asarray(counts), 0.99, method="inverted_cdf"))
    return max(1, min(enough, MOST_OBJECTS))


def prompt_length(words: Sequence[Sequence[int]], most: int) -> int:
    """Return the tokens of the longest prompt with location and attribute tokens, rounded up to a multiple of 8.

    Args:
        words: tokens of the class names of each image's objects; of an image with more than ``most`` objects, which
            has no prompt, nothing is counted.
        most: maximum number of objects.
    """
    longest = max((sum(row) + OBJECT_TOKENS * len(row) for row in words if len(row) <= most), default=0)
    return 8 * math.ceil((PREFIX_TOKENS + longest) / 8)


def has_upper_side(brightness: Sequence[float], centres: Sequence[float]) -> bool:
    """Return whether images of a set look different upside down.

    A set has an upper side if the upper half is brighter or darker than the lower half, or if objects are higher or
    lower than the middle, on average over images by more than two standard errors. Below :data:`MIN_FOR_FLIPS` images
    it is taken to have one.

    Args:
        brightness: of each image, mean of its upper half minus mean of its lower half.
        centres: of each image, mean height of its objects' centres minus 0.5, in heights of the image.
    """
    if len(brightness) < MIN_FOR_FLIPS:
        return True
    for values in (np.asarray(brightness, float), np.asarray(centres, float)):
        error = values.std(ddof=1) / math.sqrt(len(values))
        if abs(values.mean()) > 2 * error:
            return True
    return False


def has_a_direction(classes: Sequence[str]) -> bool:
    """Return whether mirroring may turn objects of one class into another, or into none.

    Single letters, digits, and names with ``left`` or ``right`` are classes that a mirror image does not show.
    """
    words = [name.lower().replace("-", " ").replace("_", " ").split() for name in classes]
    return any(
        {"left", "right", "clockwise"} & set(parts)
        or (len(parts) == 1 and (parts[0].isdigit() or len(parts[0]) == 1))
        for parts in words
    )


def flips(upper_side: bool, direction: bool) -> tuple[float, list[str]]:
    """Return probability and directions of mirrored images; equal shares of all versions."""
    if direction:
        return 0.0, ["horizontal"]
    if upper_side:
        return 0.5, ["horizontal"]
    return 0.75, ["horizontal", "vertical", "diagonal"]


def batch_size(images: int, most: int = 8) -> int:
    """Return the batch size: ``most``, or the number of images if that is smaller, but at least 2."""
    return max(2, min(most, images))
