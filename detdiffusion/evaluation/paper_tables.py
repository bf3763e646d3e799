"""Tables 1 to 7 of the paper with measured figures beside the printed ones."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from detdiffusion.evaluation.paper_figures import TABLES, PaperRow, PaperTable
from detdiffusion.evaluation.results import MethodResult, read_result_file
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.tables import markdown_table

NOT_RUN, NO_FIGURE = "not run", "–"


@dataclass
class Line:
    """One line of a table: a row of the paper with the figures of one method in one file, or with none.

    Attributes:
        row: the paper's.
        ours: column label -> value (AP in percent); absent where not measured.
        dataset, protocol, source: of ours; :data:`NOT_RUN` without.
    """

    row: PaperRow
    ours: dict[str, float]
    dataset: str = NOT_RUN
    protocol: str = NOT_RUN
    source: str = NOT_RUN


def normalise(method: str) -> str:
    """A method's name without what differs between spellings: ``DetDiffusion_easy``, ``real + hard``."""
    name = re.sub(r"\+|\bplus\b", "plus", method.lower())
    return re.sub(r"[^a-z0-9]", "", name).removeprefix("detdiffusion") or "origin"


def collect(
    files: Sequence[str], assigned: Mapping[str, str] | None = None
) -> tuple[dict[int, list[Line]], list[str]]:
    """Lines of every table.

    Args:
        files: result files; their methods find their rows by name (tables 1, 2, 3 and 5).
        assigned: ``TABLE/ROW`` -> ``FILE`` or ``FILE#METHOD``, for rows that no name tells (tables 4, 6 and 7).
            Without METHOD: ``easy`` where the file has it (as the paper scores them), else the only one but ``real``.

    Returns:
        ``(table number -> lines, notes)``; the notes name methods that no table takes.

    Raises:
        UserError: a broken file, no such table, row or method, or a file of the wrong kind.
    """
    found: dict[tuple[int, str], list[list[MethodResult]]] = {}
    notes = []
    for path in dict.fromkeys(files):
        for method, results in _by_method(path).items():
            places = [
                (table.number, row.key)
                for table in TABLES
                for row in table.rows
                if _belongs(table, row, results[0])
            ]
            for place in places:
                found.setdefault(place, []).append(results)
            if not places:
                notes.append(
                    f"{path}: no table takes the method {method!r} by its name; use --assign TABLE/ROW={path}"
                )
    for place, source in (assigned or {}).items():
        table, row = _find(place)
        found.setdefault((table.number, row.key), []).append(_pick(place, table, source))
    return {
        table.number: [
            line
            for row in table.rows
            for line in (
                [_line(table, row, r) for r in found.get((table.number, row.key), [])] or [Line(row, {})]
            )
        ]
        for table in TABLES
    }, notes


def _by_method(path: str) -> dict[str, list[MethodResult]]:
    methods: dict[str, list[MethodResult]] = {}
    for result in read_result_file(path):
        methods.setdefault(result.method, []).append(result)
    return methods


def _belongs(table: PaperTable, row: PaperRow, result: MethodResult) -> bool:
    if result.kind not in table.kinds or not table.detectors:
        return False
    name = normalise(result.method)
    if result.kind != "trainability":
        return name in row.aliases
    if result.detector not in table.detectors:
        return False
    return name in row.aliases or f"{result.detector.lower()}:{name}" in row.aliases


def _find(place: str) -> tuple[PaperTable, PaperRow]:
    number, _, key = place.partition("/")
    number = number.lower().removeprefix("table")
    tables = {str(table.number): table for table in TABLES}
    if number not in tables:
        raise UserError(f"`assigned` {place}: the paper has tables 1 to 7, as in 7/without-dice=FILE")
    rows = {row.key: row for row in tables[number].rows}
    if key not in rows:
        raise UserError(f"`assigned` {place}: table {number} has the rows {', '.join(rows)}")
    return tables[number], rows[key]


def _pick(place: str, table: PaperTable, source: str) -> list[MethodResult]:
    path, _, method = source.partition("#")
    methods = _by_method(path)
    others = [name for name in methods if name != "real"]
    if not method:
        if "easy" not in methods and len(others) != 1:
            raise UserError(
                f"`assigned` {place}={source}: name one of its methods: {path}#{'|'.join(methods)}"
            )
        method = "easy" if "easy" in methods else others[0]
    if method not in methods:
        raise UserError(
            f"`assigned` {place}={source}: {path} has the methods {', '.join(methods)}, not {method!r}"
        )
    if methods[method][0].kind not in table.kinds:
        raise UserError(
            f"`assigned` {place}={source}: table {table.number} takes {' or '.join(table.kinds)} results, this file "
            f"has {methods[method][0].kind}"
        )
    return methods[method]


def _line(table: PaperTable, row: PaperRow, results: Sequence[MethodResult]) -> Line:
    """The figures of one method in one file, each under the protocol that has it: FID under the paper's, if there."""
    ours, used = {}, []
    for label, metric in table.columns:
        ordered = results
        if metric == "fid":
            ordered = sorted(results, key=lambda result: result.protocol.split(", ")[0] != "lama_tf")
        for result in ordered:
            name = metric.removeprefix("class:")
            value = (result.per_class if metric.startswith("class:") else result.metrics).get(name)
            if value is None or ("fid" != metric and value < 0):
                continue
            ours[label] = value if metric == "fid" else 100 * value
            if result.protocol not in used:
                used.append(result.protocol)
            break
    first = results[0]
    return Line(row, ours, first.dataset, "; ".join(used) or first.protocol, f"{first.file}#{first.method}")


def columns_of(table: PaperTable) -> list[str]:
    """Headings: the row, paper and ours for every column, then where ours come from."""
    pairs = [f"{label} {who}" for label, _ in table.columns for who in ("(paper)", "(ours)")]
    return ["method", *pairs, "data set of ours", "protocol of ours"]


def cells_of(table: PaperTable, line: Line) -> list[str]:
    """The texts of one line."""
    cells = [line.row.label]
    for (label, metric), printed in zip(table.columns, line.row.values):
        digits = 2 if metric == "fid" else 1
        cells.append(NO_FIGURE if printed is None else f"{printed:.{digits}f}")
        cells.append(f"{line.ours[label]:.{digits}f}" if label in line.ours else NOT_RUN)
    return [*cells, line.dataset, line.protocol]


def to_markdown(tables: Mapping[int, Sequence[Line]]) -> str:
    """All tables as Markdown."""
    parts = ["# The paper's tables"]
    for table in TABLES:
        parts += [f"## Table {table.number}. {table.title}", f"Paper: {table.setting}."]
        rows = [cells_of(table, line) for line in tables[table.number]]
        parts.append(markdown_table(columns_of(table), rows))
    return "\n\n".join(parts) + "\n"


def to_csv(tables: Mapping[int, Sequence[Line]]) -> str:
    """All tables as one CSV, a figure a line."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["table", "row", "metric", "paper", "ours", "dataset", "protocol", "source"])
    for table in TABLES:
        for line in tables[table.number]:
            for (label, _), printed in zip(table.columns, line.row.values):
                ours = line.ours.get(label, NOT_RUN)
                ours = f"{ours:.6g}" if label in line.ours else NOT_RUN
                paper = "" if printed is None else printed
                writer.writerow(
                    [
                        table.number,
                        line.row.label,
                        label,
                        paper,
                        ours,
                        line.dataset,
                        line.protocol,
                        line.source,
                    ]
                )
    return buffer.getvalue()
