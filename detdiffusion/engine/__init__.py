"""What mmengine lacks: safe checkpoints, a strict runner, CPU ranks. Registers ``SafeRunner`` and
``MixingRatioHook``.
"""

from .checkpoint import latest_checkpoint, load_checkpoint, load_strictly, use_safe_loader
from .launch import build_runner, prepare_ranks
from .mixing_hook import MixingRatioHook
from .runner import SafeRunner

__all__ = [
    "MixingRatioHook",
    "SafeRunner",
    "build_runner",
    "latest_checkpoint",
    "load_checkpoint",
    "load_strictly",
    "prepare_ranks",
    "use_safe_loader",
]
