"""Colours for classes."""

import colorsys


def class_colour(index: int) -> tuple[int, int, int]:
    """Return a bright RGB colour for a class index, the same one on every call; neighbours differ strongly."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
