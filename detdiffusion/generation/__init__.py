"""`detdiffusion.generation`: attribute strategies and the durable writer of synthetic sets."""

from .strategies import STRATEGIES, OriginStrategy, UniformStrategy, build_strategy
from .writer import CocoWriter

__all__ = ["STRATEGIES", "CocoWriter", "OriginStrategy", "UniformStrategy", "build_strategy"]
