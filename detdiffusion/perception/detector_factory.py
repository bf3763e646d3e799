"""A detector from its config and weights, whichever library it is of; another one is another line of ``BACKENDS``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from .image_detector import ImageDetector

BACKENDS = {".onnx": "onnx_detector:OnnxDetector"}
"""Suffix of the weights -> module of this package and class, an :class:`.image_detector.ImageDetector`."""
MMDET = "detector:MMDetDetector"
"""For weights of any other suffix."""


def load_detector(
    config: str | Path,
    checkpoint: str | Path,
    device: str | None = None,
    cfg_options: Sequence[str] | None = None,
) -> ImageDetector:
    """An mmdet detector, or an ONNX detector where the weights are an ``.onnx`` file.

    Args:
        config: an mmdet config, or one with ``onnx_detector`` (``configs/onnx``).
        checkpoint: its weights.
        device, cfg_options: see the two classes.

    Raises:
        UserError: anything wrong with the files, by one message.
    """
    module, _, name = BACKENDS.get(Path(checkpoint).suffix.lower(), MMDET).partition(":")
    backend = getattr(import_module(f".{module}", __package__), name)
    return backend(config, checkpoint, device, cfg_options)
