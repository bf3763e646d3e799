"""`detdiffusion.structures`: the types between the rooms."""

from .layout import ATTRIBUTES, Layout, check_attribute_words

__all__ = ["ATTRIBUTES", "Layout", "check_attribute_words"]
