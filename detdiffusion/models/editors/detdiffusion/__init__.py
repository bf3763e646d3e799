"""The DetDiffusion editor, one small file per component."""

from . import mask_head  # noqa: F401
from .editor import DetDiffusion
from .layout_tokenizer import LayoutTokenizer

__all__ = ["DetDiffusion", "LayoutTokenizer"]
