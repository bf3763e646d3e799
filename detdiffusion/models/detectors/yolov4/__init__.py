"""YOLOv4 (Bochkovskiy et al., arXiv:2004.10934) as an mmdet detector, built from darknet's network files."""

from .detector import YOLOv4
from .letterbox import DarknetLetterbox

__all__ = ["DarknetLetterbox", "YOLOv4"]
