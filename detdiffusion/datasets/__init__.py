"""`detdiffusion.datasets`: layouts for the generator, synthetic-augmented COCO for detectors, MiniScenes."""

from . import transforms  # noqa: F401
from .image_patches import ImagePatches
from .layout_coco import LayoutCocoDataset
from .samplers import SeededInfiniteSampler, SeededSampler

__all__ = ["ImagePatches", "LayoutCocoDataset", "SeededInfiniteSampler", "SeededSampler"]
