"""`detdiffusion.datasets.transforms`: transforms of layouts."""

from .layout_transforms import LoadLayoutImage, LoadLayoutMasks, PackLayoutInputs, RandomFlipLayout

__all__ = ["LoadLayoutImage", "LoadLayoutMasks", "PackLayoutInputs", "RandomFlipLayout"]
