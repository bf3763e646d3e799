"""`detdiffusion.structures`: the types between the rooms."""

from .layout import ATTRIBUTES, FLIPS, Layout, check_attribute_words

__all__ = ["ATTRIBUTES", "FLIPS", "Layout", "check_attribute_words"]
