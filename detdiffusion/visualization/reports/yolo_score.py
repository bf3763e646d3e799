"""The YOLO score as a table on the terminal, Markdown, CSV and json."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from detdiffusion.evaluation.names import METRIC_NAMES
from detdiffusion.evaluation.results import result_file
from detdiffusion.utils.cli import table_console
from detdiffusion.utils.files import write_atomic

TITLES = dict(zip(METRIC_NAMES, ("AP", "AP50", "AP75", "APs", "APm", "APl")))
COLUMNS = {
    **TITLES,
    "filtered_bbox_mAP": "AP filtered",
    "filtered_bbox_mAP_50": "AP50 filtered",
    "filtered_bbox_mAP_75": "AP75 filtered",
}
COUNTS = ("layouts", "images", "detections")
# Columns that fit a terminal of 80 characters; the files have all columns.
SHORT = ("images of", "images", "AP", "AP50", "AP75", "AP filtered")


def rows(result: dict) -> list[list[str]]:
    """Return a header and a line per set; AP in percent, ``–`` if there are no objects of that size."""
    lines = [["images of", *COUNTS, *COLUMNS.values()]]
    for name, values in result["sets"].items():
        aps = [f"{100 * values[k]:.1f}" if values[k] >= 0 else "–" for k in COLUMNS]
        label = "real (bound)" if name == "real" else name
        lines.append([label, *(str(values[k]) for k in COUNTS), *aps])
    return lines


def protocol_lines(result: dict) -> list[str]:
    """Return lines that describe the protocol, and the notes."""
    protocol = result["protocol"]
    detector = protocol["detector"]
    nms = detector["nms"] or {}
    lines = [
        f"detector: {detector['network']}, {detector['config']}, weights {detector['checkpoint']} (sha256 "
        f"{(detector['sha256'] or '')[:12]}), threshold {detector['score_thr']}, NMS {nms.get('iou_threshold')}",
        f"images: {protocol['resize']}; samples of a layout: {protocol['samples_per_layout']}",
        f"ids: {protocol['layouts']}, {protocol['ids']}",
        f"AP: {protocol['objects']} objects and {protocol['crowds']} crowds of {protocol['scored_classes']} classes; "
        f"{protocol['ap']}",
        f"AP filtered: {protocol['filtered_objects']} objects; {protocol['filter']}",
    ]
    return lines + [f"note: {note}" for note in result["notes"]]


def write_report(result: dict, out: str | Path) -> list[Path]:
    """Write ``yolo_score.json``, ``.md`` and ``.csv``.

    Returns:
        The paths of the files.

    Raises:
        UserError: a file cannot be written.
    """
    out = Path(out)
    header, *lines = rows(result)
    table = [f"| {' | '.join(line)} |" for line in (header, ["---", *["---:"] * (len(header) - 1)], *lines)]
    text = "\n".join(["# YOLO score", "", *table, "", *(f"- {line}" for line in protocol_lines(result)), ""])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = ["set", *COUNTS, *TITLES, *(f"filtered_{name}" for name in METRIC_NAMES)]
    writer.writerow(names)
    for name, values in result["sets"].items():
        writer.writerow([name, *(values[k] for k in names[1:])])
    contents = {
        "json": json.dumps(_result_file(result), indent=1) + "\n",
        "md": text,
        "csv": buffer.getvalue(),
    }
    files = []
    for suffix, content in contents.items():
        files.append(out / f"yolo_score.{suffix}")
        write_atomic(files[-1], content.encode())
    return files


def _result_file(result: dict) -> dict:
    """Build the result file, see :mod:`~detdiffusion.evaluation.results`, with all scores of the sets."""
    protocol = result["protocol"]
    methods = [
        dict(
            method=name,
            metrics={k: v for k, v in values.items() if "bbox_mAP" in k and not isinstance(v, dict)},
            counts={k: values[k] for k in COUNTS},
            per_class=values.get("bbox_mAP_per_class", {}),
        )
        for name, values in result["sets"].items()
    ]
    name = f"{protocol['name']}, {protocol['detector']['network']}"
    dataset = f"{protocol['ann']}, {protocol['layouts']} layouts"
    protocol = {**protocol, "name": name}
    more = dict(sets=result["sets"], from_cache=result["from_cache"])
    return result_file("yolo_score", dataset, protocol, methods, result["notes"], **more)


def print_report(result: dict) -> None:
    """Print the table and the protocol."""
    from rich.table import Table

    header, *lines = rows(result)
    table = Table(title="YOLO score: detector AP in percent")
    for column in SHORT:
        first = column == header[0]
        table.add_column(column, justify="left" if first else "right", no_wrap=first)
    for line in lines:
        table.add_row(*(line[header.index(column)] for column in SHORT))
    console = table_console()
    console.print(table)
    for line in protocol_lines(result):
        console.print(line, markup=False, highlight=False)
