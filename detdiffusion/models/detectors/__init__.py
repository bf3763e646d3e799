"""`detdiffusion.models.detectors`: additional detectors for mmdet.

Not imported by default, because it imports mmdet; a config imports it with
``custom_imports=dict(imports=['detdiffusion.models.detectors'])``.
"""

from detdiffusion.utils import compat as _compat

_compat.setup()

from .yolov4 import DarknetLetterbox, YOLOv4  # noqa: E402

__all__ = ["DarknetLetterbox", "YOLOv4"]
