"""Pages of the reference: one a section of ``docs/reference.md``, with the docstring of each name in its tables."""

from __future__ import annotations

import re
import textwrap

from site_pages.symbols import ROOT, home_of

PAGE = ROOT / "docs/reference.md"
ROW = re.compile(r"^\| `(detdiffusion[\w.]*)` \| (.+) \|$", re.MULTILINE)


def sections() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Return the sections that list names: page -> title and (module, name) in the page's order."""
    found = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title = section.splitlines()[0]
        names = [(module, name) for module, cell in ROW.findall(section) for name in names_of(cell)]
        if names:
            stem = re.sub(r"\W+", "_", title.partition(":")[0].lower())
            found[f"reference/{stem}.md"] = (title, names)
    return found


def names_of(cell: str) -> list[str]:
    """Return the names of a table cell: ``NAME, NAME: what they are; NAME``."""
    listed = [part.split(":")[0] for part in cell.split(";")]
    return re.findall(r"`(\w+)`", " ".join(listed))


def reference_page(title: str, names: list[tuple[str, str]]) -> str:
    """Return a section's page as Markdown for mkdocstrings: the imports, then every docstring."""
    entries = [f"::: {home_of(module, name)}.{name}" for module, name in names]
    return "\n\n".join([f"# {title}", f"```python\n{_imports(names)}\n```", *entries]) + "\n"


def _imports(names: list[tuple[str, str]]) -> str:
    lines = []
    for module in dict.fromkeys(module for module, _ in names):
        listed = ", ".join(name for home, name in names if home == module)
        line = f"from {module} import {listed}"
        if len(line) > 88:
            line = f"from {module} import (\n{textwrap.indent(textwrap.fill(listed + ',', 84), '    ')}\n)"
        lines.append(line)
    return "\n".join(lines)


def link_names(text: str) -> str:
    """Link the names in the tables of ``docs/reference.md`` to their docstrings."""

    def row(found: re.Match) -> str:
        module, cell = found.groups()
        for name in names_of(cell):
            cell = cell.replace(f"`{name}`", f"[`{name}`][{home_of(module, name)}.{name}]", 1)
        return f"| `{module}` | {cell} |"

    return ROW.sub(row, text)
