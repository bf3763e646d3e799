"""YOLOv4 (Bochkovskiy et al., arXiv:2004.10934) from darknet's network files, as an mmdet detector."""

from .detector import YOLOv4
from .letterbox import DarknetLetterbox

__all__ = ["DarknetLetterbox", "YOLOv4"]
