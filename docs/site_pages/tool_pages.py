"""A page for every tool, made from its parser, so that flags, defaults and examples are those of ``--help``."""

from __future__ import annotations

import argparse
import re
import runpy
import subprocess
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tool_files() -> list[Path]:
    """Return the tools: those of ``tools/`` first, then its folders', each in alphabetical order."""
    files = [path for path in (ROOT / "tools").rglob("*") if path.suffix in (".py", ".sh")]
    return sorted(files, key=lambda path: (len(path.parts), path))


def page_of(tool: Path) -> str:
    """Return the name of a tool's page below ``docs``; no such file exists before the site is built."""
    return tool.relative_to(ROOT).as_posix().rpartition(".")[0] + ".md"


def tool_navigation() -> list[dict]:
    """Return the tools' entries in the navigation, those of a folder under its name."""
    entries, folders = [], {}
    for tool in tool_files():
        entry = {tool.name: page_of(tool)}
        if tool.parent == ROOT / "tools":
            entries.append(entry)
        else:
            folders.setdefault(tool.parent.name.replace("_", " ").capitalize(), []).append(entry)
    return [*entries, *({title: pages} for title, pages in folders.items())]


def tool_page(tool: Path) -> str:
    """Return a tool's page as Markdown."""
    name = tool.relative_to(ROOT).as_posix()
    if tool.suffix == ".sh":
        command = ["bash", str(tool), "--help"]
        text = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
        return f"# {name}\n\n```\n{text.rstrip()}\n```\n"
    parser = runpy.run_path(str(tool))["build_parser"]()
    parser.prog = f"python {name}"
    parts = [f"# {name}", parser.description.strip()]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if is_shown(action)]
        if actions:
            title = {"positional arguments": "Arguments", "options": "Options"}.get(group.title, group.title)
            parts += [f"## {title[0].upper()}{title[1:]}", _table(parser, actions)]
    examples = textwrap.dedent(re.sub(r"\Aexamples?:\n", "", parser.epilog))
    parts += ["## Examples", f"```bash\n{examples.strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def index_page() -> str:
    """Return the list of all tools as Markdown."""
    rows = ["| tool | what it does |", "|---|---|"]
    for tool in tool_files():
        text = tool.read_text(encoding="utf-8")
        if tool.suffix == ".sh":
            first = text.splitlines()[1].lstrip("# ")
        else:
            first = runpy.run_path(str(tool))["__doc__"].strip().splitlines()[0]
        page = page_of(tool).removeprefix("tools/")
        rows.append(f"| [`{tool.relative_to(ROOT).as_posix()}`]({page}) | {_cell(first)} |")
    text = "Arguments, defaults and examples of every tool, from the same source as its `--help`."
    return f"# Tools\n\n{text}\n\n" + "\n".join(rows) + "\n"


def is_shown(action: argparse.Action) -> bool:
    """Return whether an argument belongs on the page: not hidden, and not ``--help``."""
    return action.help is not argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)


def _table(parser: argparse.ArgumentParser, actions: list[argparse.Action]) -> str:
    formatter = parser._get_formatter()
    rows = ["| argument | meaning |", "|---|---|"]
    for action in actions:
        # argparse's own words, as in --help, but the values only once for an option with several names
        names = ", ".join(action.option_strings[:-1])
        last = formatter._format_action_invocation(action).rpartition(", -")
        call = f"{names}, -{last[2]}" if names else last[2]
        meaning = formatter._expand_help(action) if action.help else ""
        required = "required; " if action.option_strings and action.required else ""
        rows.append(f"| `{call.replace('|', chr(92) + '|')}` | {required}{_cell(meaning)} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return re.sub(r"([|<*_\[])", r"\\\1", " ".join(text.split()))
