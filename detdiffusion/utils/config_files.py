"""Which names a config file and its bases set and use, by their syntax trees."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PLACEHOLDER = re.compile(r"\{\{.*?\}\}")  # mmengine's {{_base_.x}}, {{fileDirname}}, {{$VARIABLE:default}}
_OF_BASE = re.compile(r"_base_(?:\.|\[['\"])(\w+)")
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class ConfigFile:
    """One file of a config.

    Attributes:
        path: absolute.
        bases: the files that it inherits from.
        foreign: it belongs to another installed package (``mmdet::...``).
        assigned: names that its top level sets.
        loaded: names that it uses, those of its bases (``_base_.x``) among them.
        extended: names that it sets to an expression with the base's value of the same name.
    """

    path: str
    bases: tuple[ConfigFile, ...]
    foreign: bool
    assigned: frozenset[str]
    loaded: frozenset[str]
    extended: frozenset[str]

    def family(self) -> Iterator[ConfigFile]:
        """The file and all below it."""
        yield self
        for base in self.bases:
            yield from base.family()


def read_tree(path: str, foreign: bool = False) -> ConfigFile:
    """A config file (Python, json or yaml) and its bases.

    Raises:
        Exception: whatever mmengine raises for a file that does not parse or a base that is not there.
    """
    from mmengine.config import Config

    path = os.path.abspath(path)
    bases = tuple(
        read_tree(Config._get_cfg_path(base, path)[0], foreign or _is_foreign(base))
        for base in Config._get_base_files(path)
    )
    if not path.endswith(".py"):
        return ConfigFile(path, bases, foreign, frozenset(), frozenset(), frozenset())
    text = Path(path).read_text(encoding="utf-8")
    tree = ast.parse(_without_placeholders(text))
    assigned = {name for statement in assignments(tree) for name in _targets(statement)}
    loaded = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Store)}
    extended = set()
    for statement in assignments(tree):
        source = "\n".join(text.splitlines()[statement.lineno - 1 : statement.end_lineno])
        extended |= set(_targets(statement)) & set(_OF_BASE.findall(source))
    loaded |= set(_OF_BASE.findall(text))
    assigned.discard("_base_")
    return ConfigFile(path, bases, foreign, frozenset(assigned), frozenset(loaded), frozenset(extended))


def insert_after(text: str, names: dict[str, str]) -> str:
    """A config's source with a statement behind every one of its top level that sets one of ``names``.

    Args:
        text: Python source, with mmengine's placeholders.
        names: name -> the statement that follows its assignments, without line breaks.
    """
    lines = text.encode().splitlines(keepends=True)  # the tree counts columns in bytes
    places = [
        (statement.end_lineno, statement.end_col_offset, names[name])
        for statement in assignments(ast.parse(_without_placeholders(text)))
        for name in _targets(statement)
        if name in names
    ]
    for line, column, added in sorted(places, reverse=True):
        old = lines[line - 1]
        lines[line - 1] = old[:column] + f"; {added}".encode() + old[column:]
    return b"".join(lines).decode()


def assignments(tree: ast.AST) -> Iterator[ast.stmt]:
    """The assignments of a file's top level, in its ``if`` and ``for`` blocks too, not in functions and classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _ASSIGNMENTS):
            yield node
        elif not isinstance(node, _SCOPES):
            yield from assignments(node)


def _targets(statement: ast.stmt) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    stored = (node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
    return [node.id for node in stored if isinstance(node.ctx, ast.Store)]


def _without_placeholders(text: str) -> str:
    """The source with names of equal length in their place: some of them are no Python."""
    return _PLACEHOLDER.sub(lambda match: "_" * len(match[0].encode()), text)


def _is_foreign(base: str) -> bool:
    package, separator, _ = base.partition("::")
    return bool(separator) and package != "detdiffusion"
