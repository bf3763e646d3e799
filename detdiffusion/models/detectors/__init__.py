"""`detdiffusion.models.detectors`: additional detectors and parts of detectors for mmdet.

It imports mmdet, so the registries import it only for a name that they do not find elsewhere.
"""

from detdiffusion.utils import compat as _compat

_compat.setup()

from .ignored_regions import ATSSAssigner, FCOSHead, MaxIoUAssigner  # noqa: E402
from .yolov4 import DarknetLetterbox, YOLOv4  # noqa: E402

__all__ = ["ATSSAssigner", "DarknetLetterbox", "FCOSHead", "MaxIoUAssigner", "YOLOv4"]
