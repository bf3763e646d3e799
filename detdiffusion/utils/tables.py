"""Tables as text, for a terminal, a log or a report file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence


def format_table(rows: Iterable[Sequence[object]]) -> str:
    """Format a table with the first column left-aligned and the others right-aligned.

    Args:
        rows: cells; headings are ordinary rows, and an empty row is an empty line.
    """
    from rich.console import Console
    from rich.table import Table

    rows = [[str(cell) for cell in row] for row in rows]
    table = Table.grid(padding=(0, 2))
    for column in range(max(map(len, rows), default=0)):
        table.add_column(justify="right" if column else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(row or [""]))
    console = Console(file=io.StringIO(), width=1 << 16, markup=False, emoji=False, highlight=False)
    console.print(table)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def markdown_table(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table; ``|`` in cells is escaped.

    Args:
        columns: the headings.
        rows: cells, one per heading in each row.
    """

    def line(cells: Sequence[object]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(columns), "|" + "---|" * len(columns), *map(line, rows)])
