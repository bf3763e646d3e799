"""What ``tools/evaluate_fidelity.py`` shows: tables on the terminal and the consistency report as md and html."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from detdiffusion.utils.cli import table_console
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.tables import markdown_table

_ENOUGH_OBJECTS = 10  # of a class on the real images, below which its share found says little


def fidelity_table(result: Mapping) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the main table: AP in percent and counts; the real bound comes first."""
    columns = ["set", "layouts", "images", "objects", "AP", "AP50", "AP75", "AP full GT", "Fréchet"]
    rows = []
    for name, row in result["sets"].items():
        cells = [name, *(str(row[k]) for k in ("layouts", "images", "objects"))]
        cells += [percent(row[k]) for k in ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_mAP_full")]
        rows.append([*cells, number(row.get("frechet"))])
    return columns, rows


def distance_table(result: Mapping) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the distances, a row a protocol and set; no rows where none was asked for.

    The row of the real images is their distance from each other, or from other real images.
    """
    columns = ["protocol", "set", "images", "real", "FID", "Fréchet", "KID", "precision", "recall"]
    rows = []
    for protocol in result["protocol"]["fid"]:
        for name, row in result["sets"].items():
            if values := row.get("distances", {}).get(protocol):
                counts = [str(values[key]) for key in ("images", "real_images")]
                figures = [number(values.get(k)) for k in ("fid", "frechet", "kid", "precision", "recall")]
                rows.append([protocol, name, *counts, *figures])
    return columns, rows


def consistency_tables(report: Mapping) -> list[dict]:
    """Tables of :func:`detdiffusion.visualization.report.table` from ``result['consistency']``."""
    from detdiffusion.visualization.report import table

    sets = report["sets"]
    edges = next(iter(sets.values()))["size_edges"]
    columns = ["set", "objects", "found", "mean IoU", "centre offset", "mean score"]
    columns += ["missing / image", "extra / image", "images with exact counts"]
    rows = []
    for name, one in sets.items():
        counts = one["counts"]
        exact = percent(counts["images_with_exact_counts"])
        rows.append(
            [
                name,
                *_cells(one["all"]),
                number(counts["missing_per_image"]),
                number(counts["extra_per_image"]),
            ]
        )
        rows[-1].append(exact)
    tables = [table("Objects of the prompted layouts", columns, rows, notes=_effect(report))]
    for key, title in (("by_size", "By size"), ("by_class", "By class")):
        groups = list(dict.fromkeys(group for one in sets.values() for group in one[key]))
        rows = []
        for group in groups:
            for name, one in sets.items():
                if group in one[key]:
                    rows.append([group, name, *_cells(one[key][group])])
        notes = []
        if key == "by_size":
            notes = [f"small: below {edges[0]:.0%} of the image's area; large: from {edges[1]:.0%}"]
        if key == "by_class":
            notes = lost_classes(report)
        tables.append(table(title, [key[3:], *columns[:6]], rows, notes=notes))
    return tables


def lost_classes(report: Mapping) -> list[str]:
    """A line for each class that the detector finds on real images, and less than half as often on generated ones."""
    sets = report["sets"]
    real = sets.get("real", {}).get("by_class", {})
    lines = []
    for name, bound in real.items():
        if bound["objects"] < _ENOUGH_OBJECTS:
            continue
        lost = [
            f"{percent(one['by_class'][name]['found'])} % on {key}"
            for key, one in sets.items()
            if key != "real"
            and name in one["by_class"]
            and one["by_class"][name]["found"] < bound["found"] / 2
        ]
        if lost:
            lines.append(
                f"{name}: the detector finds {percent(bound['found'])} % on real images, but only {', '.join(lost)}: "
                "the generator hardly draws this class"
            )
    return lines


def _cells(row: Mapping) -> list[str]:
    return [
        str(row["objects"]),
        percent(row["found"]),
        number(row["mean_iou"]),
        number(row["centre_offset"]),
        number(row["mean_score"]),
    ]


def _effect(report: Mapping) -> list[str]:
    effect = report.get("attribute_effect")
    if effect is None:
        return []
    if not effect["objects"]:
        return ["Attribute effect: the easy and hard sets prompt no object in common."]
    return [
        f"Attribute effect: mean detector score {effect['easy']:.3f} on easy and {effect['hard']:.3f} on hard, paired "
        f"by object: {effect['difference']:+.3f}, {effect['level']:.0%} interval [{effect['low']:+.3f}, "
        f"{effect['high']:+.3f}] ({effect['objects']} objects of {effect['layouts']} layouts, {effect['resamples']} "
        f"resamples, seed {effect['seed']}); higher on easy: {effect['share_easy_higher']:.0%} of the objects."
    ]


def method_lines(result: Mapping) -> list[str]:
    """How the consistency figures came about."""
    settings, protocol = result["protocol"]["consistency"], result["protocol"]
    return [
        f"Data set: {result['dataset']}. Detector: {protocol['detector']['config']}.",
        f"An object is found if a prediction of its class with score above {settings['score_thr']:g} overlaps it with "
        f"IoU {settings['iou_thr']:g} or more, one prediction an object. Mean IoU and centre offset (distance of the "
        "centres over the object's diagonal) are of found objects; mean score is the best overlapping prediction's, "
        "0 without one. The real images of the same layouts are the bound.",
    ]


def write_reports(result: Mapping, out: str | Path) -> list[Path]:
    """Writes ``consistency.json``, ``consistency.md`` and ``consistency.html``; returns their paths."""
    from detdiffusion.visualization.report import write_report

    out = Path(out)
    tables, lines = consistency_tables(result["consistency"]), method_lines(result)
    paths = [out / f"consistency.{kind}" for kind in ("json", "md", "html")]
    settings = result["protocol"]["consistency"]
    data = dict(dataset=result["dataset"], settings=settings, **result["consistency"])
    write_atomic(paths[0], (json.dumps(data, indent=2) + "\n").encode())
    text = ["# Layout consistency", *lines]
    for one in tables:
        text += [f"## {one['title']}", markdown_table(one["columns"], one["rows"]), *one["notes"]]
    write_atomic(paths[1], ("\n\n".join(text) + "\n").encode())
    write_report(paths[2], "Layout consistency", lines, tables)
    return paths


def print_result(result: Mapping) -> None:
    """The tables, the bootstrap, every protocol and every note."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    console = table_console()

    def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True)  # nine columns in a terminal of 80
        for index, column in enumerate(columns):
            table.add_column(column, justify="right" if index else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)

    show("Detector AP on the prompted objects, in percent", *fidelity_table(result))
    columns, rows = distance_table(result)
    if rows:
        show("Distances to the real images", columns, rows)
    for name, row in result["bootstrap"].items():
        console.print(
            f"{name}: {100 * row['difference']:+.1f} AP, {row['level']:.0%} interval "
            f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}] "
            f"(paired bootstrap, {row['layouts']} layouts, {row['resamples']} resamples, seed {row['seed']})",
            markup=False,
        )
    first, *_, classes = consistency_tables(result["consistency"])
    show(first["title"], first["columns"], first["rows"])
    for line in [*first["notes"], *classes["notes"]]:
        console.print(line, markup=False)
    protocol = result["protocol"]
    console.print(f"data set: {result['dataset']}", markup=False, style="dim")
    for key in ("bbox_mAP", "bbox_mAP_full", "frechet_features", "frechet_reference", "frechet_bound"):
        if protocol[key]:
            console.print(f"{key}: {protocol[key]}", markup=False, style="dim")
    for name, values in result["sets"]["real"]["distances"].items():
        console.print(f"{name}, row real: {values['bound']}", markup=False, style="dim")
    for one in protocol["fid"].values():
        console.print(f"protocol {one['description']}", markup=False, style="dim")
    for note in result["notes"]:
        console.print(f"note: {note}", markup=False)


def percent(value: float | None) -> str:
    """A share in percent; – where there is none (COCO's -1, None)."""
    return "–" if value is None or value < 0 else f"{100 * value:.1f}"


def number(value: float | None) -> str:
    """Three decimals; – for None."""
    return "–" if value is None else f"{value:.3f}"
