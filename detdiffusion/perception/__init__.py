"""`detdiffusion.perception`: detectors, their predictions on a data set, and perception-aware attributes (Eq. 2).

Names are imported lazily, so that the options of extraction can be used without importing torch.
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
