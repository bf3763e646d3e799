"""`detdiffusion.datasets`: layouts for the generator, synthetic-augmented COCO for detectors, MiniScenes."""

from . import transforms  # noqa: F401
from .layout_coco import LayoutCocoDataset

__all__ = ["LayoutCocoDataset"]
