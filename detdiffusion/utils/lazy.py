"""Lazy imports for a package's public names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_exports(
    package: str, exports: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return the module attributes with which a package imports its public names on first use.

    Args:
        package: ``__name__`` of the package.
        exports: full name of a module -> names that it defines.

    Returns:
        ``__getattr__``, ``__dir__`` and ``__all__`` for the package's ``__init__.py``.
    """
    modules = {name: module for module, names in exports.items() for name in names}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return get, lambda: sorted(modules), sorted(modules)
