"""The console command ``detdiffusion NAME ...``, which runs the tool of that name.

Every file in ``tools/`` is a command, called as the file with dashes for underscores; :data:`SHORT` gives the common
ones shorter names. A tool runs as if it were started by its path, so its flags and exit status are the same.
"""

from __future__ import annotations

import ast
import difflib
import shutil
import sys
import textwrap
import types
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "detdiffusion"
SHORT = {
    "check": "check_dataset.py",
    "augment": "augment.py",
    "train": "train.py",
    "extract": "extract_attributes.py",
    "generate": "generate.py",
    "gate": "quality_gate.py",
    "evaluate": "evaluate_fidelity.py",
    "compare": "compare_trainability.py",
    "browse": "analysis_tools/browse_dataset.py",
    "studio": "studio.py",
    "export": "model_converters/to_diffusers.py",
    "demo": "quickstart.py",
}
"""Names of the common commands, in the order of their use, and their files in ``tools/``."""
_PACKAGE = Path(__file__).resolve().parent


def tools_folder() -> Path:
    """Return the folder of the tools: ``.mim/tools`` of an installed package, else ``tools`` of the checkout."""
    installed = _PACKAGE / ".mim" / "tools"
    return installed if installed.is_dir() else _PACKAGE.parent / "tools"


def commands() -> dict[str, Path]:
    """Return the file of every command by its name: those of :data:`SHORT`, then the other tools by folder."""
    folder = tools_folder()
    found = {name: folder / file for name, file in SHORT.items()}
    others = [path for path in folder.rglob("*.py") if path not in found.values() and path.name[0] != "_"]
    for path in sorted(others, key=lambda path: (path.parent != folder, path.parent, path.name)):
        found[_command(path)] = path
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the command's name and its arguments; default: those of the process.

    Returns:
        Exit status, where no tool was run; a tool ends the process with its own.
    """
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(_help(commands()))
        return 0
    if name == "--version":
        from detdiffusion import __version__

        print(f"{PROGRAM} {__version__}")
        return 0
    path = _find(name)
    if path is None:
        return 2
    _run(path, [f"{PROGRAM} {name}", *rest])
    return 0


def _run(path: Path, arguments: list[str]) -> None:
    """Run a file as the main module.

    ``runpy.run_path`` would replace the program's name, which argparse takes from ``sys.argv[0]``, by the file's.
    """
    sys.argv = arguments
    module = types.ModuleType("__main__")
    module.__file__ = str(path)
    sys.modules["__main__"] = module  # what is pickled in a tool refers to it
    exec(compile(path.read_bytes(), str(path), "exec"), vars(module))


def _command(path: Path) -> str:
    return path.stem.replace("_", "-")


def _find(name: str) -> Path | None:
    """Return a command's file by its name or by that of its file; None, with a message, if there is none."""
    known = commands()
    by_file = {_command(path): path for path in known.values()}
    path = known.get(name) or by_file.get(name.removesuffix(".py").replace("_", "-"))
    if path is None:
        near = difflib.get_close_matches(name, {**known, **by_file}, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"{PROGRAM} --help lists them"
        print(f"error: there is no command {name!r}; {hint}", file=sys.stderr)
    return path


def _help(known: dict[str, Path]) -> str:
    width = max(map(len, known)) + 4
    columns = shutil.get_terminal_size((120, 24)).columns
    groups: dict[str, list[str]] = {}
    for name, path in known.items():
        folder = path.parent.relative_to(tools_folder()).as_posix()
        title = "common" if name in SHORT else "more" if folder == "." else folder.replace("_", " ")
        summary = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        row = textwrap.fill(
            summary, columns, initial_indent=f"  {name:<{width - 2}}", subsequent_indent=" " * width
        )
        groups.setdefault(title, []).append(row)
    lines = [f"usage: {PROGRAM} COMMAND ...", "", f"{PROGRAM} COMMAND --help shows its options and examples."]
    for title, rows in groups.items():
        lines += ["", f"{title}:", *rows]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
