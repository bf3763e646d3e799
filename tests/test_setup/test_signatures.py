"""No function takes more arguments than a reader can keep in mind."""

import ast

import pytest

ROOMS = ("detdiffusion", "tools", "benchmarks")
LIMIT = 12
LARGER = {"DetDiffusion.__init__"}  # component keys of a config beside the earlier flat keys


def signatures(tree, prefix=""):
    """(qualified name, number of parameters without ``self`` and ``cls``) of all functions in a file."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from signatures(node, f"{prefix}{node.name}.")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            own = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            yield prefix + node.name, len([name for name in own if name not in ("self", "cls")])
            yield from signatures(node, f"{prefix}{node.name}.")
        else:
            yield from signatures(node, prefix)


@pytest.mark.parametrize("room", ROOMS)
def test_parameters(repo_root, room):
    found = [
        (path.name, name, count)
        for path in (repo_root / room).rglob("*.py")
        if ".mim" not in path.parts
        for name, count in signatures(ast.parse(path.read_text()))
    ]
    assert len(found) > 20  # the search works
    assert [one for one in found if one[2] > LIMIT and one[1] not in LARGER] == []
