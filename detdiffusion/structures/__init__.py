"""`detdiffusion.structures`: data types shared by all subpackages."""

from .generated_images import GeneratedImages
from .layout import ATTRIBUTES, FLIPS, Layout, check_attribute_words

__all__ = ["ATTRIBUTES", "FLIPS", "GeneratedImages", "Layout", "check_attribute_words"]
