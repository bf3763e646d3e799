"""`detdiffusion.generation`: strategies and edits of layouts, and the durable writer of synthetic sets."""

from .edits import LayoutEdits
from .strategies import NAMED_STRATEGIES, Strategy, build_strategy
from .writer import CocoWriter

__all__ = ["NAMED_STRATEGIES", "CocoWriter", "LayoutEdits", "Strategy", "build_strategy"]
