"""Comparison of detector trainings: tables as in the paper's Tables 2, 3 and 5, curves as in its Figure 6."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from detdiffusion.evaluation.names import METRIC_NAMES
from detdiffusion.evaluation.trainability import (
    TrainingRun,
    compare_classes,
    compare_runs,
    group_runs,
    rarest_classes,
    read_run,
    result_of,
)
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.tables import markdown_table
from detdiffusion.visualization.trainability_curves import plot_curves

_SHORT = dict(zip(METRIC_NAMES, ("mAP", "AP50", "AP75", "APs", "APm", "APl")))


def compare_trainability(
    work_dirs: Sequence[str],
    out: str | Path,
    ann: Sequence[str | Path] | None = None,
    rarest: int = 5,
    classes: Sequence[str] | None = None,
) -> dict:
    """Reads the runs and writes ``comparison.md``, ``.json``, ``.csv``, ``classes.csv`` and ``curves.png``.

    Args:
        work_dirs: ``[NAME=]WORK_DIR``; a name given several times for one detector is an arm with several seeds, and
            each detector's first arm its reference.
        out: folder for the files.
        ann: the training set's COCO jsons, which tell the rarest classes; default: the first run's.
        rarest: number of classes in the second table; 0 leaves it out.
        classes: these classes in place of the rarest.

    Returns:
        ``rows``, ``classes`` (rows), ``notes`` and ``markdown``.

    Raises:
        UserError: a work dir without a validation, an unknown class, or a folder that cannot be written.
    """
    named = []
    for item in work_dirs:
        name, folder = item.split("=", 1) if "=" in item else (Path(item).name, item)
        named.append((name, read_run(folder)))
    arms = group_runs(named)
    rows, notes = compare_runs(arms)
    chosen, more = _classes([run for _, run in named], ann, rarest, classes)
    class_rows = compare_classes(arms, [name for name, _ in chosen]) if chosen else []
    notes += [*more, *(note for _, run in named for note in run.notes)]
    markdown = markdown_tables(rows, class_rows, chosen, notes)

    out = Path(out)
    data = result_of(rows, notes, arms, classes=class_rows, class_shares=dict(chosen))
    write_atomic(out / "comparison.json", (json.dumps(data, indent=2) + "\n").encode())
    write_atomic(out / "comparison.md", markdown.encode())
    write_atomic(out / "comparison.csv", _csv(rows))
    if class_rows:
        write_atomic(out / "classes.csv", _csv(class_rows))
    plot_curves(arms, out / "curves.png")
    return dict(data, markdown=markdown)


def markdown_tables(
    rows: Sequence[Mapping],
    class_rows: Sequence[Mapping] = (),
    classes: Sequence[tuple[str, float | None]] = (),
    notes: Sequence[str] = (),
) -> str:
    """The rows of :func:`compare_runs` and :func:`compare_classes` as Markdown; AP in percent, the best in bold."""
    by_detector = len({row["detector"] for row in rows}) > 1
    head = ["detector"] * by_detector + ["arm", "runs", "iterations", *_SHORT.values(), "difference", "p"]
    cells = []
    for row in rows:
        group = [other for other in rows if other["detector"] == row["detector"]]
        values = [_cell(row, metric, group) for metric in METRIC_NAMES]
        difference = "–" if row is group[0] else f"{row['difference'] * 100:+.1f}"
        p = "–" if row["p_value"] is None else f"{row['p_value']:.3f}"
        iterations = ", ".join(map(str, row["iterations"]))
        cells.append([*_names(row, by_detector), row["runs"], iterations, *values, difference, p])
    lines = [markdown_table(head, cells)]
    lines.append("\nAP in percent, mean ± standard deviation over seeds; difference in mAP to the first arm")
    lines[-1] += "; p: paired t-test over seeds." if any(row["pairs"] > 1 for row in rows) else "."
    if class_rows:
        titles = [name if share is None else f"{name} ({share:.1%})" for name, share in classes]
        cells = []
        for row in class_rows:
            group = [other for other in class_rows if other["detector"] == row["detector"]]
            cells.append([*_names(row, by_detector), *(_cell(row, name, group) for name, _ in classes)])
        lines += ["", markdown_table(["detector"] * by_detector + ["arm", *titles], cells)]
        lines.append("\nAP of single classes; in brackets their share of the training objects.")
    return "\n".join([*lines, *(f"\n{note}" for note in notes)]) + "\n"


def _classes(
    runs: Sequence[TrainingRun], ann: Sequence[str | Path] | None, rarest: int, classes: Sequence[str] | None
) -> tuple[list[tuple[str, float | None]], list[str]]:
    """(name, share) of the second table's classes, and notes on what is missing."""
    logged = list(dict.fromkeys(name for run in runs for name in run.per_class))
    if classes:
        unknown = [name for name in classes if name not in logged]
        if unknown:
            raise UserError(
                f"`classes`: no AP of {', '.join(unknown)} in the logs; they have: {', '.join(logged) or 'none'}"
            )
        return [(name, None) for name in classes], []
    if not rarest:
        return [], []
    if not logged:
        return [], ["no AP of single classes in the logs: val_evaluator.classwise=True writes it"]
    ann = ann or [run.train_ann for run in runs if run.train_ann][:1]
    if not ann:
        return [], [
            "the training annotations are not where the config says: name them by --ann for rare classes"
        ]
    return list(rarest_classes(ann, logged, rarest)), []


def _csv(rows: Sequence[Mapping]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow({k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()})
    return text.getvalue().encode()


def _names(row: Mapping, by_detector: bool) -> list[str]:
    return [row["detector"] or "?", row["name"]] if by_detector else [row["name"]]


def _cell(row: Mapping, metric: str, group: Sequence[Mapping]) -> str:
    value, spread = row[metric], row[f"{metric}_std"]
    if value is None or value < 0:
        return "–"
    text = f"{value * 100:.1f}" + ("" if spread is None else f" ± {spread * 100:.1f}")
    best = max(other[metric] for other in group if other[metric] is not None)
    return f"**{text}**" if len(group) > 1 and value == best else text
