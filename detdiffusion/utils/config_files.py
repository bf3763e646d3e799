"""The names that a config file and its bases set and use, read from their syntax trees."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .config_names import NewName, new_name
from .config_repeats import repeated_keys
from .findings import Finding

_PLACEHOLDER = re.compile(r"\{\{.*?\}\}")  # mmengine's {{_base_.x}}, {{fileDirname}}, {{$VARIABLE:default}}
_OF_BASE = re.compile(r"_base_(?:\.|\[['\"])(\w+)")
_ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class ConfigFile:
    """One file of a config.

    Attributes:
        path: absolute path.
        bases: the files that it inherits from.
        foreign: whether it belongs to another installed package (``mmdet::...``).
        assigned: names that its top level sets.
        loaded: names that it uses, including those of its bases (``_base_.x``).
        extended: names that it sets to an expression that contains the base's value of the same name.
        is_lazy: whether it inherits by ``with read_base():``.
        options: values of its variables that reproduce the old config, if it was requested under its old name.
        findings: keys that it sets twice, and old names of its bases.
    """

    path: str
    bases: tuple[ConfigFile, ...]
    foreign: bool
    assigned: frozenset[str]
    loaded: frozenset[str]
    extended: frozenset[str] = frozenset()
    is_lazy: bool = False
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    findings: tuple[Finding, ...] = ()

    def family(self) -> Iterator[ConfigFile]:
        """Yield the file and all its direct and indirect bases."""
        yield self
        for base in self.bases:
            yield from base.family()


def read_tree(path: str, foreign: bool = False, options: Mapping[str, str] | None = None) -> ConfigFile:
    """Read a config file (Python, json or yaml) and its bases.

    Args:
        path: path of the file.
        foreign: whether it belongs to another installed package.
        options: see :attr:`ConfigFile.options`.

    Raises:
        Exception: whatever mmengine raises for a file that does not parse or a missing base.
    """
    from mmengine.config import Config

    path, options = os.path.abspath(path), dict(options or {})
    text = Path(path).read_text(encoding="utf-8")
    is_python = path.endswith(".py")
    tree = ast.parse(_without_placeholders(text)) if is_python else None
    is_lazy = is_python and Config._is_lazy_import(path)
    bases, notes = (_lazy_bases(path, tree), []) if is_lazy else _bases(path)
    findings = (*repeated_keys(path, text, tree), *notes)
    names = _names_of_python(text, tree) if is_python else _names_of_data(path)
    assigned, loaded, extended = map(frozenset, names)
    loaded |= set(_OF_BASE.findall(text))
    return ConfigFile(
        path, bases, foreign, assigned - {"_base_"}, loaded, extended, is_lazy, options, findings
    )


def _names_of_python(text: str, tree: ast.Module) -> tuple[set[str], set[str], set[str]]:
    """Return the names that the top level sets, the names used anywhere, and the names that extend a base's value."""
    lines, assigned, extended = text.splitlines(), set(), set()
    for statement in assignments(tree):
        source = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
        assigned |= set(_targets(statement))
        extended |= set(_targets(statement)) & set(_OF_BASE.findall(source))
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Store)}
    return assigned, used, extended


def _names_of_data(path: str) -> tuple[set[str], set[str], set[str]]:
    """Return the same sets as :func:`_names_of_python` for a json or yaml file."""
    import mmengine

    values = {str(key): str(value) for key, value in mmengine.load(path).items()}
    return set(values), set(), {key for key, value in values.items() if key in _OF_BASE.findall(value)}


def current_base(base: str, path: str) -> tuple[str, NewName | None]:
    """Resolve a ``_base_`` that may be an old name.

    Args:
        base: the ``_base_`` as written.
        path: the file that contains it.

    Returns:
        The ``_base_`` to read, and the replacement if it was an old name.
    """
    found = new_name(base if "::" in base else os.path.join(os.path.dirname(os.path.abspath(path)), base))
    return (found.path if found else base), found


def users_of(tree: ConfigFile, name: str) -> list[str]:
    """List the names that the Python files of a config compute from a variable."""
    found = []
    for file in tree.family():
        source = ast.parse(_without_placeholders(Path(file.path).read_text(encoding="utf-8")))
        for statement in assignments(source):
            value = statement.value or statement.target  # an annotation may have no value
            if any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(value)):
                found += _targets(statement)
    return list(dict.fromkeys(found))


def _bases(path: str) -> tuple[tuple[ConfigFile, ...], list[Finding]]:
    """Read the files that ``_base_`` refers to; also return notes about old names."""
    from mmengine.config import Config

    bases, notes = [], []
    for written in Config._get_base_files(path):
        base, renamed = current_base(written, path)
        if renamed:
            notes.append(old_name_note(path, written, renamed))
        found = Config._get_cfg_path(base, path)[0]
        bases.append(read_tree(found, _is_foreign(base), renamed.options if renamed else None))
    return tuple(bases), notes


def old_name_note(file: str, old: str, new: NewName) -> Finding:
    """Return the note for an old name, used as a ``_base_`` in ``file`` or given by the user (``file`` is empty)."""
    remedy = "the old name will be removed in the next version"
    return Finding(file or old, f"_base_ {old}" if file else "", f"it is now {new}", None, remedy, "note")


def _lazy_bases(path: str, tree: ast.Module) -> tuple[ConfigFile, ...]:
    """Read the files that ``with read_base():`` imports from."""
    from mmengine.utils import get_installed_path

    bases = []
    for block in (node for node in tree.body if isinstance(node, ast.With)):
        for node in block.body:
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue  # mmengine reports the error
            package, *rest = node.module.split(".")
            if node.level:
                file = Path(path).parent.joinpath(*[".."] * (node.level - 1), package, *rest)
            else:
                file = Path(get_installed_path(package)).joinpath(*rest)
            foreign = not node.level and package != "detdiffusion"
            bases.append(read_tree(f"{file}.py", foreign))
    return tuple(bases)


def insert_after(text: str, names: dict[str, str]) -> str:
    """Insert a statement after each top-level assignment to one of ``names`` in a config's source.

    Args:
        text: Python source, with mmengine's placeholders.
        names: name -> the statement to insert after its assignments, without line breaks.
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
    """Yield a file's top-level assignments, including those in blocks (``if``, ``for``), but not in functions and
    classes."""
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
    """Replace placeholders by names of equal length, because some of them are not valid Python."""
    return _PLACEHOLDER.sub(lambda match: "_" * len(match[0].encode()), text)


def _is_foreign(base: str) -> bool:
    package, separator, _ = base.partition("::")
    return bool(separator) and package != "detdiffusion"
