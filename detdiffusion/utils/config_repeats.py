"""Detect keys that one config file sets twice, so that one of the values has no effect."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

from .findings import Finding


def repeated_keys(path: str, text: str, tree: ast.Module | None) -> list[Finding]:
    """Find the keys that a file sets twice.

    A warning is given for a top-level name of a Python file that is assigned again before its first value is used
    (outside of ``if``, ``for``, ``while``, ``try`` and ``with`` blocks); as in Python, the last value counts. Errors
    are ``_base_`` assigned twice (mmengine reads only the first), a key that appears twice in a dict literal ``{...}``,
    and a key that appears twice in any object of a json or yaml file.

    Args:
        path: path of the file, used in messages.
        text: its content.
        tree: its syntax tree, None for json and yaml.

    Returns:
        One finding per key.
    """
    if tree is None:
        found = _twice_in_json(text) if Path(path).suffix == ".json" else _twice_in_yaml(text)
        return [_error(path, key, where) for key, where in found]
    findings = []
    for key, where in _assigned_twice(tree):
        if key == "_base_":
            findings.append(_error(path, key, where))
        else:
            remedy = "the last one counts: remove the other"
            findings.append(Finding(path, key, f"it is set twice{where}", None, remedy, "warning"))
    return findings + [_error(path, key, where) for key, where in _twice_in_a_dict(tree)]


def _error(path: str, key: object, where: str) -> Finding:
    return Finding(
        path, str(key), f"it is set twice{where}", None, "one has no effect: remove one of the two"
    )


def _assigned_twice(tree: ast.Module) -> Iterator[tuple[str, str]]:
    unused: dict[str, int] = {}  # name -> line of the assignment
    for statement in tree.body:
        stored = _plain_targets(statement)
        for node in ast.walk(statement):
            # `_base_.x` does not count as a use of `_base_`: mmengine reads the first assignment of `_base_` only
            if isinstance(node, ast.Name) and node not in stored and node.id != "_base_":
                unused.pop(node.id, None)
        for name in dict.fromkeys(node.id for node in stored):
            if name in unused:
                yield name, f", in lines {unused[name]} and {statement.lineno}"
            unused[name] = statement.lineno


def _plain_targets(statement: ast.stmt) -> list[ast.Name]:
    """Return the names that an assignment sets without reading their old values."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    else:
        return []
    nodes = (node for target in targets for node in ast.walk(target))
    return [node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def _twice_in_a_dict(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key in _repeated([key.value for key in node.keys if isinstance(key, ast.Constant)]):
                yield key, f" by the {{...}} of line {node.lineno}"


def _twice_in_json(text: str) -> list[tuple[str, str]]:
    found = []

    def collect(pairs: list[tuple]) -> dict:
        found.extend((key, " in one object") for key in _repeated([key for key, _ in pairs]))
        return dict(pairs)

    json.loads(text, object_pairs_hook=collect)
    return found


def _twice_in_yaml(text: str) -> list[tuple[str, str]]:
    import yaml

    found, pending = [], [yaml.compose(text, Loader=yaml.SafeLoader)]
    while pending:
        node = pending.pop()
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            found += [
                (key, f" by the mapping of line {node.start_mark.line + 1}")
                for key in _repeated(keys)
                if key != "<<"
            ]
            pending += [value for _, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            pending += node.value
    return found


def _repeated(keys: list) -> list:
    return [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
