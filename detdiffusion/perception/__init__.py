"""`detdiffusion.perception`: what a detector finds in a data set, and the attributes that follow (Eq. 2)."""

from .attributes import AttributeResult, best_matches, perception_attributes
from .attributes_file import AttributesFile
from .predictions import Predictions, read_results

__all__ = [
    "AttributeResult",
    "AttributesFile",
    "Predictions",
    "best_matches",
    "perception_attributes",
    "read_results",
]
