"""`detdiffusion.datasets.transforms`: transforms of layouts."""

from .augmentations import CopyPasteLayout, RandomResizedCropLayout
from .layout_transforms import LoadLayoutImage, LoadLayoutMasks, PackLayoutInputs, RandomFlipLayout
from .perception_attributes import LoadPerceptionAttributes

__all__ = [
    "CopyPasteLayout",
    "LoadLayoutImage",
    "LoadLayoutMasks",
    "LoadPerceptionAttributes",
    "PackLayoutInputs",
    "RandomFlipLayout",
    "RandomResizedCropLayout",
]

CACHEABLE = (
    LoadLayoutImage,
    LoadLayoutMasks,
    LoadPerceptionAttributes,
    PackLayoutInputs,
    RandomFlipLayout,
)
"""Steps of which the results of an image are few enough to be cached as latents."""
