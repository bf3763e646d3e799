"""Imports between the package's folders run one way, from what is called to what is used."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "detdiffusion"
LAYERS = [  # the lowest first; a folder imports from lower layers and its own
    {"utils", "registry"},
    {"structures"},
    {"datasets", "models", "perception"},
    {"visualization"},
    {"engine", "evaluation", "generation", "integrations"},
    {"apis"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported(path):
    """Folders of the package that a file imports from, inside functions too; imports for type checkers left out."""
    module = ["detdiffusion", *path.relative_to(PACKAGE).with_suffix("").parts]
    pending = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        pending += ast.iter_child_nodes(node)
        targets = []
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module[: -node.level] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            targets = [[*base, alias.name] for alias in node.names]
        yield from (target[1] for target in targets if target[0] == "detdiffusion" and len(target) > 1)


def test_imports_run_one_way():
    wrong, seen = set(), 0
    for path in sorted(PACKAGE.glob("*/**/*.py")):
        name = path.relative_to(PACKAGE)
        own = name.parts[0]
        if own == ".mim":
            continue
        for target in imported(path):
            assert target in LEVEL, f"{name} imports detdiffusion.{target}: give it a layer"
            seen += target != own
            if LEVEL[target] > LEVEL[own]:
                wrong.add((name.as_posix(), target))
    assert seen > 200  # the search works
    assert not wrong
