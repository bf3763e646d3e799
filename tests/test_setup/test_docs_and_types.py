"""What the package says of itself: docstrings of what is public, types of its arguments, sizes of its files."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "detdiffusion"
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if ".mim" not in path.parts]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def public(node: ast.AST, inside_function: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """Classes and functions whose names, and those of what holds them, have no underscore; whether in a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*FUNCTIONS, ast.ClassDef)):
            if child.name.startswith("_"):
                continue
            yield child, inside_function
            yield from public(child, inside_function or isinstance(child, FUNCTIONS))
        elif not isinstance(child, ast.expr):
            yield from public(child, inside_function)


DEFINITIONS = [(path, *found) for path in FILES for found in public(ast.parse(path.read_text()))]


def check_share(lacking: list[str], count: int) -> None:
    assert count > 900  # the search works
    assert len(lacking) <= 0.05 * count, "\n".join([f"{len(lacking)} of {count} lack it:", *lacking])


def test_what_is_public_is_documented():
    definitions = [(path, node) for path, node, inside in DEFINITIONS if not inside]
    lacking = [
        f"{path}:{node.lineno} {node.name}" for path, node in definitions if not ast.get_docstring(node)
    ]
    check_share(lacking, len(definitions))


def test_arguments_have_types():
    count, lacking = 0, []
    for path, node, _ in DEFINITIONS:
        if isinstance(node, FUNCTIONS):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            arguments = [one for one in arguments if one.arg not in ("self", "cls")]
            count += len(arguments)
            lacking += [
                f"{path}:{one.lineno} {node.name}({one.arg})" for one in arguments if not one.annotation
            ]
    check_share(lacking, count)


def test_files_stay_small():
    """Lines: one concept a file."""
    lines = {path: len(path.read_text().splitlines()) for path in FILES}
    assert statistics.median(lines.values()) <= 130
    assert statistics.quantiles(lines.values(), n=10)[-1] <= 260
    assert [f"{path}: {count}" for path, count in lines.items() if count > 360] == []
