"""Loading of a detector of any supported library from its config and weights."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from .image_detector import ImageDetector

BACKENDS = {".onnx": "onnx_detector:OnnxDetector"}
"""Module and class (an :class:`.image_detector.ImageDetector`) by suffix of the weights; extend it to add a library."""
MMDET = "detector:MMDetDetector"
"""Module and class for weights with any other suffix."""


def load_detector(
    config: str | Path,
    checkpoint: str | Path,
    device: str | None = None,
    cfg_options: Sequence[str] | None = None,
) -> ImageDetector:
    """Load an mmdet detector, or an ONNX detector if the weights are an ``.onnx`` file.

    Args:
        config: an mmdet config, or one with ``onnx_detector`` (``configs/onnx``).
        checkpoint: its weights.
        device, cfg_options: see the two classes.

    Raises:
        UserError: a file is missing or not valid.
    """
    module, _, name = BACKENDS.get(Path(checkpoint).suffix.lower(), MMDET).partition(":")
    backend = getattr(import_module(f".{module}", __package__), name)
    return backend(config, checkpoint, device, cfg_options)
