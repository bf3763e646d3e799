"""`detdiffusion.datasets`: layouts for the generator, synthetic-augmented COCO for detectors, MiniScenes.

Names are imported lazily, so that reading and converting labels does not import torch.
"""

from detdiffusion.utils.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "detdiffusion.datasets.image_patches": ["ImagePatches"],
        "detdiffusion.datasets.layout_coco": ["LayoutCocoDataset"],
        "detdiffusion.datasets.samplers": ["SameSizeBatchSampler", "SeededInfiniteSampler", "SeededSampler"],
    },
)
