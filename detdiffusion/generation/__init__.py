"""`detdiffusion.generation`: strategies and edits of layouts, and a crash-safe writer of synthetic sets.

Names are imported lazily, so that the options of a set can be used without importing torch.
"""

from detdiffusion.utils.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "detdiffusion.generation.edits": ["LayoutEdits"],
        "detdiffusion.generation.strategies": ["NAMED_STRATEGIES", "Strategy", "build_strategy"],
        "detdiffusion.generation.writer": ["CocoWriter"],
    },
)
