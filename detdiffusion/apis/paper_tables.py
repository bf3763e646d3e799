"""Writes and prints the paper's tables: what ``tools/paper_tables.py`` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from detdiffusion.evaluation.paper_figures import TABLES
from detdiffusion.evaluation.paper_tables import cells_of, collect, columns_of, to_csv, to_markdown
from detdiffusion.utils.cli import table_console
from detdiffusion.utils.files import write_atomic
from detdiffusion.visualization.report import table, write_report


def write_paper_tables(files: Sequence[str], assigned: Mapping[str, str], out: str | Path) -> list[Path]:
    """Collects result files and writes ``tables.md``, ``tables.csv`` and ``tables.html``.

    Args:
        files, assigned: see :func:`detdiffusion.evaluation.paper_tables.collect`.
        out: folder.

    Returns:
        The three paths.

    Raises:
        UserError: a broken file or a wrong assignment.
    """
    from rich.table import Table

    lines, notes = collect(files, assigned)
    paths = [Path(out) / f"tables.{kind}" for kind in ("md", "csv", "html")]
    write_atomic(paths[0], to_markdown(lines).encode())
    write_atomic(paths[1], to_csv(lines).encode())
    pages = [
        table(
            f"Table {t.number}. {t.title}",
            columns_of(t),
            [cells_of(t, line) for line in lines[t.number]],
            [f"Paper: {t.setting}."],
        )
        for t in TABLES
    ]
    intro = [
        "Figures of the paper beside measured ones. Compare only where data set and protocol are the paper's."
    ]
    write_report(paths[2], "The paper's tables", intro, pages)
    console = table_console()
    for t in TABLES:
        measured = [line for line in lines[t.number] if line.ours]
        if not measured:
            continue
        shown = Table(title=f"Table {t.number}. {t.title}")
        for index, column in enumerate(columns_of(t)):
            shown.add_column(column, justify="right" if 0 < index <= 2 * len(t.columns) else "left")
        for line in measured:
            shown.add_row(*cells_of(t, line))
        console.print(shown)
    empty = [str(t.number) for t in TABLES if not any(line.ours for line in lines[t.number])]
    if empty:
        console.print(f"nothing was run for table {', '.join(empty)}", markup=False)
    for note in notes:
        console.print(f"note: {note}", markup=False)
    print(f"written: {', '.join(map(str, paths))}")
    return paths
