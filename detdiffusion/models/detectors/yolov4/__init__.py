"""YOLOv4 (Bochkovskiy et al., arXiv:2004.10934) from darknet's network files, as an mmdet detector."""

from .detector import YOLOv4

__all__ = ["YOLOv4"]
