"""`detdiffusion.models.detectors`: additional detectors and parts of detectors for mmdet.

Not imported by default, because it imports mmdet; a config imports it with
``custom_imports=dict(imports=['detdiffusion.models.detectors'])``.
"""

from detdiffusion.utils import compat as _compat

_compat.setup()

from .ignored_regions import ATSSAssigner, MaxIoUAssigner  # noqa: E402
from .yolov4 import DarknetLetterbox, YOLOv4  # noqa: E402

__all__ = ["ATSSAssigner", "DarknetLetterbox", "MaxIoUAssigner", "YOLOv4"]
