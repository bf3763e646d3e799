"""`detdiffusion.structures`: data types shared by all subpackages."""

from .layout import ATTRIBUTES, FLIPS, Layout, check_attribute_words

__all__ = ["ATTRIBUTES", "FLIPS", "Layout", "check_attribute_words"]
