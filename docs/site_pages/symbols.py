"""Where a name is defined: the lines of functions and classes, found in the source without importing it."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@lru_cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _names(node: ast.AST) -> list[str]:
    """Return the names that a statement defines."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def lines_of(path: Path, symbol: str) -> tuple[int, int]:
    """Return the first and the last line of a definition, decorators included.

    Args:
        path: a Python file.
        symbol: ``function``, ``Class``, ``Class.method`` or a name that the module assigns.

    Raises:
        KeyError: the file defines no such name.
    """
    nodes = _tree(path).body
    for name in symbol.split("."):
        found = [node for node in nodes if name in _names(node)]
        if not found:
            raise KeyError(f"{path.relative_to(ROOT)} defines no {symbol}")
        node = found[-1]
        nodes = getattr(node, "body", [])
    decorators = [decorator.lineno for decorator in getattr(node, "decorator_list", [])]
    return min([node.lineno, *decorators]), node.end_lineno


def module_path(module: str) -> Path:
    """Return the file of a module of the package."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def home_of(module: str, name: str) -> str:
    """Return the module that defines a public name, following imports and ``lazy_exports``.

    Args:
        module: the module that users import it from.
        name: the name.

    Raises:
        KeyError: the module neither defines nor exports the name.
    """
    path = module_path(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _tree(path).body:
        if name in _names(node):
            return module
        if isinstance(node, ast.ImportFrom) and name in [alias.asname or alias.name for alias in node.names]:
            start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            return home_of(".".join([*start, *filter(None, [node.module])]), name)
        for home, names in _lazy(node).items():
            if name in names:
                return home_of(home, name)
    raise KeyError(f"{module} has no {name}")


def exported(module: str) -> list[str]:
    """Return the names in ``__all__`` of a module; [] if it has none."""
    names = []
    for node in _tree(module_path(module)).body:
        if "__all__" in _names(node):
            names += ast.literal_eval(node.value)
        names += [name for lazy in _lazy(node).values() for name in lazy]
    return sorted(names)


def _lazy(node: ast.AST) -> dict[str, list[str]]:
    """Return module -> names of a ``... = lazy_exports(__name__, {...})`` statement; {} for others."""
    call = getattr(node, "value", None)
    if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "lazy_exports":
        return ast.literal_eval(call.args[1])
    return {}
