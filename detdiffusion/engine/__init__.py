"""What mmengine lacks: safe checkpoints, a strict runner, CPU ranks. Registers ``SafeRunner`` and
``SampleGridHook``."""

from .checkpoint import latest_checkpoint, load_checkpoint, load_strictly, use_safe_loader
from .launch import build_runner, prepare_ranks
from .runner import SafeRunner
from .sample_grid_hook import SampleGridHook

__all__ = [
    "SafeRunner",
    "SampleGridHook",
    "build_runner",
    "latest_checkpoint",
    "load_checkpoint",
    "load_strictly",
    "prepare_ranks",
    "use_safe_loader",
]
