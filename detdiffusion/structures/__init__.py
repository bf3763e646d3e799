"""`detdiffusion.structures`: the types between the rooms."""

from .layout import ATTRIBUTES, Layout

__all__ = ["ATTRIBUTES", "Layout"]
