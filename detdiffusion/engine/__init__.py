"""What mmengine lacks: safe checkpoints, a strict runner, CPU ranks, a report on prompts; registers them."""

from .checkpoint import latest_checkpoint, load_checkpoint, load_strictly, use_safe_loader
from .launch import build_runner, prepare_ranks
from .prompt_report import PromptReportHook
from .runner import SafeRunner

__all__ = [
    "PromptReportHook",
    "SafeRunner",
    "build_runner",
    "latest_checkpoint",
    "load_checkpoint",
    "load_strictly",
    "prepare_ranks",
    "use_safe_loader",
]
