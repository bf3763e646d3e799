"""What mmengine lacks: safe checkpoints, a strict runner, CPU ranks. Registers ``SafeRunner``."""

from .checkpoint import load_checkpoint, use_safe_loader
from .launch import build_runner, prepare_ranks
from .runner import SafeRunner

__all__ = ["SafeRunner", "build_runner", "load_checkpoint", "prepare_ranks", "use_safe_loader"]
