"""The page of a check of a labelled set: findings, figures, and images with their boxes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from detdiffusion.datasets.image_reading import ImageError, read_rgb
from detdiffusion.datasets.object_table import ObjectTable
from detdiffusion.datasets.set_findings import split_pairs
from detdiffusion.utils.colours import class_colour
from detdiffusion.utils.findings import Finding
from detdiffusion.visualization.overlays import DrawnObject, draw_objects
from detdiffusion.visualization.report import Gallery, table, write_report

_SIDE = 320  # pixels
_RANDOM, _SPECIAL = 8, 2


def write_dataset_page(
    path: str | Path,
    title: str,
    findings: Sequence[Finding],
    tables: Mapping[str, Sequence[Sequence]],
    objects: Mapping[str, ObjectTable],
    files: Mapping[str, Sequence[Path]],
) -> None:
    """Write the page.

    Args:
        path: HTML file to write.
        title: the set and its form.
        findings: results of the check.
        tables: title -> rows, the first of which are the headings.
        objects: split -> its objects.
        files: split -> its image files.

    Raises:
        UserError: the file cannot be written.
    """
    shown = [table(name, rows[0], rows[1:]) for name, rows in tables.items()]
    pairs = split_pairs({split: set(paths) for split, paths in files.items()})  # without trainval
    splits = dict.fromkeys(name for pair in pairs for name in pair) or objects
    pictures = [picture for split in splits for picture in _pictures(split, objects[split], files[split])]
    intro = [f"{finding.severity}: {finding}" for finding in findings] or ["No finding."]
    galleries = [Gallery("Pictures", "", pictures)] if pictures else ()
    write_report(path, f"Check of {title}", intro, shown, galleries=galleries)


def _pictures(split: str, objects: ObjectTable, files: Sequence[Path]) -> Iterator[tuple[str, Image.Image]]:
    """Draw images at random, those with most objects, and those with the smallest."""
    draw = random.Random(0)
    chosen = {row: "at random" for row in draw.sample(range(len(files)), min(_RANDOM, len(files)))}
    most = np.argsort(-objects.objects_per_image(), kind="stable")[:_SPECIAL]
    chosen.update({int(row): "most objects" for row in most})
    smallest = objects.image[np.argsort(objects.shares(), kind="stable")]
    chosen.update({int(row): "smallest objects" for row in list(dict.fromkeys(smallest.tolist()))[:_SPECIAL]})
    for row, reason in chosen.items():
        try:
            image = read_rgb(files[row])
        except ImageError:
            continue  # it is among the findings
        yield f"{split}, {reason}: {files[row].name}", _drawn(image, row, objects)


def _drawn(image: Image.Image, row: int, objects: ObjectTable) -> Image.Image:
    drawn = []
    for index in np.flatnonzero(objects.image == row):
        x, y, w, h = objects.boxes[index].tolist()
        label = int(objects.labels[index])
        text = objects.classes[label] + (" (crowd)" if objects.crowds[index] else "")
        drawn.append((w * h, DrawnObject((x, y, x + w, y + h), text, class_colour(label))))
    ordered = [item for _, item in sorted(drawn, key=lambda pair: -pair[0])]
    return draw_objects(image, ordered, _SIDE / max(image.size))
