"""Other people's layout-to-image models as diffusers has them, behind our editor's interface."""

from .controlnet import ControlNetEditor, draw_layout
from .gligen import GLIGENEditor

__all__ = ["ControlNetEditor", "GLIGENEditor", "draw_layout"]
