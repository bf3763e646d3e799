"""A colour for every class."""

import colorsys


def class_colour(index: int) -> tuple[int, int, int]:
    """A bright RGB colour for a class; neighbouring indices differ strongly, equal ones never."""
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
