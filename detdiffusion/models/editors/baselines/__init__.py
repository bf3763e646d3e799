"""Baselines: layout-to-image pipelines of diffusers behind the interface of an editor."""

from .controlnet import ControlNetEditor, draw_layout
from .gligen import GLIGENEditor

__all__ = ["ControlNetEditor", "GLIGENEditor", "draw_layout"]
