"""`detdiffusion.datasets`: layouts for the generator, synthetic-augmented COCO for detectors, MiniScenes."""

from . import transforms  # noqa: F401
from .layout_coco import LayoutCocoDataset
from .samplers import SeededInfiniteSampler, SeededSampler

__all__ = ["LayoutCocoDataset", "SeededInfiniteSampler", "SeededSampler"]
