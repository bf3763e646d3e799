"""`detdiffusion.models.detectors`: detectors of our own for mmdet. Not imported by default: it imports mmdet.

Configs name it by ``custom_imports=dict(imports=['detdiffusion.models.detectors'])``.
"""

from detdiffusion.utils import compat as _compat

_compat.setup()

from .yolov4 import DarknetLetterbox, YOLOv4  # noqa: E402

__all__ = ["DarknetLetterbox", "YOLOv4"]
