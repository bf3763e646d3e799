"""`detdiffusion.perception`: what a detector finds in a data set, and the attributes that follow (Eq. 2).

Names are imported when they are used, so that the settings of extraction are at hand without torch.
"""

from detdiffusion.utils.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "detdiffusion.datasets.attributes_file": ["AttributesFile"],
        "detdiffusion.perception.attributes": ["AttributeResult", "perception_attributes"],
        "detdiffusion.perception.detector_factory": ["load_detector"],
        "detdiffusion.perception.image_detector": ["ImageDetector"],
        "detdiffusion.perception.levels": ["Levels"],
        "detdiffusion.perception.matching": ["best_matches", "one_to_one"],
        "detdiffusion.perception.prediction_source": ["SetPredictions", "predict_set"],
        "detdiffusion.perception.predictions": ["Predictions", "read_results"],
    },
)
