"""The paper's tables with measured results, for ``tools/paper_tables.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from detdiffusion.evaluation.paper_figures import TABLES, PaperTable
from detdiffusion.evaluation.paper_tables import Line, cells_of, collect, columns_of, to_csv, to_markdown
from detdiffusion.utils.cli import table_console
from detdiffusion.utils.files import write_atomic
from detdiffusion.visualization.report import table, write_report


def write_paper_tables(files: Sequence[str], assigned: Mapping[str, str], out: str | Path) -> list[Path]:
    """Collect result files, write ``tables.md``, ``tables.csv`` and ``tables.html``, and print the tables.

    Args:
        files, assigned: see :func:`detdiffusion.evaluation.paper_tables.collect`.
        out: output folder.

    Returns:
        The paths of the three files.

    Raises:
        UserError: a file is damaged or an assignment is not valid.
    """
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
        if measured := [line for line in lines[t.number] if line.ours]:
            _print(console, t, measured)
    empty = [str(t.number) for t in TABLES if not any(line.ours for line in lines[t.number])]
    if empty:
        console.print(f"nothing was run for table {', '.join(empty)}", markup=False)
    for note in notes:
        console.print(f"note: {note}", markup=False)
    print(f"written: {', '.join(map(str, paths))}")
    return paths


def _print(console, paper: PaperTable, lines: Sequence[Line]) -> None:
    """Print a table's measured lines, narrow enough for a terminal, with the sources of the results below."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    shown = Table(title=f"Table {paper.number}. {paper.title}: paper / ours", box=SIMPLE_HEAD)
    shown.add_column("method")
    for label, _ in paper.columns:
        shown.add_column(label, justify="right")
    shown.add_column("of")
    sources: dict[tuple[str, str], int] = {}
    for line in lines:
        method, *cells = cells_of(paper, line)[:-2]
        pairs = [f"{printed} / {ours}" for printed, ours in zip(cells[::2], cells[1::2])]
        number = sources.setdefault((line.dataset, line.protocol), len(sources) + 1)
        shown.add_row(method, *pairs, f"({number})")
    console.print(shown)
    for (dataset, protocol), number in sources.items():
        console.print(f"({number}) {dataset}; {protocol}", markup=False, highlight=False)
