"""`detdiffusion.perception`: what a detector finds in a data set, and the attributes that follow (Eq. 2)."""

from .attributes import AttributeResult, best_matches, perception_attributes
from .attributes_file import AttributesFile
from .image_detector import ImageDetector, load_detector
from .levels import Levels
from .predictions import Predictions, read_results

__all__ = [
    "AttributeResult",
    "AttributesFile",
    "ImageDetector",
    "Levels",
    "Predictions",
    "best_matches",
    "load_detector",
    "perception_attributes",
    "read_results",
]
