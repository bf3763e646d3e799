"""Imports inside the package: one way between its folders, and no circles; imports inside functions count too."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "detdiffusion"
LAYERS = [  # the lowest first; a folder imports from lower layers and its own
    {"utils", "registry"},
    {"structures"},
    {"datasets"},
    {"models"},
    {"perception"},
    {"generation"},
    {"evaluation"},
    {"visualization"},
    {"engine"},
    {"apis"},
    {"experiments", "integrations", "studio"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def module_name(path):
    parts = ["detdiffusion", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(p): p for p in PACKAGE.rglob("*.py") if ".mim" not in p.parts}


def imported(path):
    """Modules of the package that a file imports, inside functions and by ``lazy_exports`` too; imports for type
    checkers left out."""
    name = module_name(path).split(".")
    package = name if path.name == "__init__.py" else name[:-1]
    pending, found = [ast.parse(path.read_text())], set()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lazy_exports":
            found |= set(ast.literal_eval(node.args[1]))
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(base + (node.module.split(".") if node.module else []))
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES else base for a in node.names}
    return {target for target in found if target in MODULES and target != module_name(path)}


@pytest.fixture(scope="module")
def graph():
    return {name: imported(path) for name, path in MODULES.items()}


def test_imports_run_one_way(graph):
    wrong, seen = set(), 0
    for module, targets in graph.items():
        for target in targets:
            rooms = [name.split(".")[1] if "." in name else None for name in (module, target)]
            if None in rooms:
                continue
            assert set(rooms) <= LEVEL.keys(), f"{module} imports {target}: give it a layer"
            seen += rooms[0] != rooms[1]
            if LEVEL[rooms[1]] > LEVEL[rooms[0]]:
                wrong.add((module, target))
    assert seen > 200  # the search works
    assert "detdiffusion.perception.extraction" in graph["detdiffusion.apis"]  # of lazy imports too
    assert not wrong


def test_no_import_goes_round_in_circles(graph):
    rest = dict(graph)
    while rest:  # what imports nothing that is left can be taken away
        free = [name for name, targets in rest.items() if not targets & rest.keys()]
        if not free:
            break
        for name in free:
            del rest[name]
    assert not rest


def test_nothing_but_demo_and_benchmarks_knows_the_experiments(graph, repo_root):
    wing = "detdiffusion.experiments"
    assert not {
        m
        for m, targets in graph.items()
        if not m.startswith(wing) and any(t.startswith(wing) for t in targets)
    }
    tools = {path.name for path in (repo_root / "tools").rglob("*.py") if wing in path.read_text()}
    assert tools == {"augment.py", "quickstart.py"}
