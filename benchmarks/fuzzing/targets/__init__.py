"""One target per tool; :data:`TARGETS` lists them by name."""

from .attributes import OnnxAttributes, PredictionAttributes
from .checkpoints import ToDiffusers
from .detectors import TestDetector, TrainDetector
from .generation import ContinueSet, Generate
from .logs import CompareTrainability
from .pixel_maps import StuffMaps
from .scores import Fidelity, YoloScore
from .sets import BrowseDataset, QualityGate
from .target import Target
from .voc import VocToCoco
from .yolo import YoloToCoco

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        VocToCoco(),
        YoloToCoco(),
        StuffMaps(),
        PredictionAttributes(),
        OnnxAttributes(),
        Generate(),
        ContinueSet(),
        QualityGate(),
        Fidelity(),
        YoloScore(),
        TestDetector(),
        TrainDetector(),
        BrowseDataset(),
        CompareTrainability(),
        ToDiffusers(),
    )
}
