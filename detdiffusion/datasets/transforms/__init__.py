"""`detdiffusion.datasets.transforms`: transforms of layouts."""

from .layout_transforms import LoadLayoutImage, LoadLayoutMasks, PackLayoutInputs, RandomFlipLayout
from .perception_attributes import LoadPerceptionAttributes

__all__ = [
    "LoadLayoutImage",
    "LoadLayoutMasks",
    "LoadPerceptionAttributes",
    "PackLayoutInputs",
    "RandomFlipLayout",
]
