"""`detdiffusion.perception`: what a detector finds in a data set, and the attributes that follow (Eq. 2)."""

from detdiffusion.datasets.attributes_file import AttributesFile

from .attributes import AttributeResult, perception_attributes
from .detector_factory import load_detector
from .image_detector import ImageDetector
from .levels import Levels
from .matching import best_matches, one_to_one
from .prediction_source import PredictionSource
from .predictions import Predictions, read_results

__all__ = [
    "AttributeResult",
    "AttributesFile",
    "ImageDetector",
    "Levels",
    "PredictionSource",
    "Predictions",
    "best_matches",
    "load_detector",
    "one_to_one",
    "perception_attributes",
    "read_results",
]
