"""`detdiffusion.generation`: strategies and edits of layouts, and the durable writer of synthetic sets.

Names are imported when they are used, so that the settings of a set are at hand without torch.
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
