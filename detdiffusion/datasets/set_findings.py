"""Findings about the objects and splits of a labelled set, for the check of a set and the start of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from detdiffusion.utils.errors import some
from detdiffusion.utils.findings import Finding, Severity

from .image_groups import source_of
from .object_table import ObjectTable

FEW_OBJECTS = 20
"""Fewer objects of a class are reported: a detector hardly learns it, and its AP is a matter of chance."""
FEW_IMAGES = 30
_ROUNDING = 2  # steps per pixel within which boxes are equal
_MANY = 0.5


def object_findings(table: ObjectTable, where: str, split: str = "train") -> list[Finding]:
    """Find unused and rare classes, objects that are annotated twice, and images without objects.

    Args:
        table: the objects of one split.
        where: its file, for the findings.
        split: its name; few objects matter in ``train`` and few images everywhere.
    """
    found = [*_class_findings(table, where, split), *_duplicates(table, where)]
    empty = np.flatnonzero(table.objects_per_image() == 0)
    if len(empty):
        found.append(
            Finding(
                where,
                some(table.file_names[row] for row in empty[:4]),
                "image without objects",
                remedy="a detector learns background from it, a generator does not use it; remove it if its labels "
                "were forgotten",
                severity="note",
                count=len(empty),
            )
        )
    if len(table.file_names) < FEW_IMAGES:
        found.append(
            Finding(
                where,
                "",
                f"{split} has {_plural(len(table.file_names), 'image')}",
                remedy="scores on so few images are a matter of chance; label more of them",
                severity="warning",
            )
        )
    if table.crowds.sum() > _MANY * len(table.crowds):
        found.append(
            Finding(
                where,
                "",
                "objects are marked as crowds, which are neither trained nor scored",
                remedy="set iscrowd to 0 if they are single objects (CVAT's attribute is_crowd sets it)",
                severity="warning",
                count=int(table.crowds.sum()),
            )
        )
    return found


def _class_findings(table: ObjectTable, where: str, split: str) -> list[Finding]:
    counts = table.counts()
    unused = [table.classes[k] for k in np.flatnonzero(counts == 0)]
    rare = [f"{table.classes[k]} {counts[k]}" for k in np.argsort(counts) if 0 < counts[k] < FEW_OBJECTS]
    found = []
    if not len(table.labels):
        return [
            Finding(where, "", f"{split} has no objects", remedy="correct the labels or leave the split out")
        ]
    if unused:
        found.append(
            Finding(
                where,
                some(unused, 8),
                f"{'class' if len(unused) == 1 else 'classes'} without an object in {split}",
                remedy="leave them out by to_coco.py --classes, or label some"
                if split == "train"
                else "it cannot be scored here",
                severity="warning" if split == "train" else "note",
                count=len(unused),
            )
        )
    if rare and split == "train":
        found.append(
            Finding(
                where,
                some(rare, 8),
                f"{'class' if len(rare) == 1 else 'classes'} with fewer than {FEW_OBJECTS} objects in {split}",
                remedy="label more, or merge them with another class",
                severity="warning",
                count=len(rare),
            )
        )
    return found


def _duplicates(table: ObjectTable, where: str) -> list[Finding]:
    """Find equal boxes in an image, of the same class or of different classes."""
    rows = np.flatnonzero(~table.crowds)
    keys = np.column_stack([table.image[rows], np.rint(table.boxes[rows] * _ROUNDING).astype(np.int64)])
    order = np.lexsort((table.labels[rows], *keys.T[::-1]))
    same_box = (keys[order][1:] == keys[order][:-1]).all(1)
    same_class = table.labels[rows][order][1:] == table.labels[rows][order][:-1]
    found = []
    for repeated, problem, remedy in (
        (
            same_box & same_class,
            "object annotated twice with the same box",
            "remove one of the two annotations",
        ),
        (same_box & ~same_class, "box annotated with two classes", "remove one of the two annotations"),
    ):
        hits = rows[order][1:][repeated]
        if len(hits):
            names = dict.fromkeys(table.file_names[table.image[row]] for row in hits[:20])
            found.append(
                Finding(where, some(names), problem, remedy=remedy, severity="warning", count=len(hits))
            )
    return found


def shared_findings(
    names: Mapping[str, Sequence[str]], where: str, severity: Severity = "warning"
) -> list[Finding]:
    """Find images that are in two splits, and photographs with copies (see
    :func:`~detdiffusion.datasets.image_groups.source_of`) in two splits, by the paths of the images.

    Args:
        names: split -> paths of its images, equal for the same file.
        where: the data set, for the findings.
        severity: severity of the findings.
    """
    found = []
    for first, second in split_pairs({split: set(paths) for split, paths in names.items()}):
        shared = sorted(set(names[first]) & set(names[second]))
        if shared:
            found.append(in_two_splits("image", where, shared, first, second, severity))
        sources = {_source(path) for path in names[first] if is_copy(path)}
        others = (path for path in set(names[second]) - set(shared) if is_copy(path))
        if copies := sorted(path for path in others if _source(path) in sources):
            found.append(in_two_splits("photograph with copies", where, copies, first, second, severity))
    return found


def split_pairs(contents: Mapping[str, set]) -> list[tuple[str, str]]:
    """Return the pairs of splits that must not share images; a split that contains another (trainval) is left out."""
    names = [
        split
        for split in contents
        if not any(
            other != split and contents[other] and contents[other] < contents[split] for other in contents
        )
    ]
    return [(first, second) for k, first in enumerate(names) for second in names[k + 1 :]]


def in_two_splits(
    what: str, where: str, items: Sequence[str], first: str, second: str, severity: Severity
) -> Finding:
    """Return the finding for images that are in two splits."""
    return Finding(
        where,
        some(items),
        f"{what} in both {first} and {second}",
        remedy=f"scores on {second} would be too good: remove them from one, or cut {second} again by split_coco.py",
        severity=severity,
        count=len(items),
    )


def is_copy(path: str) -> bool:
    """Return whether a name is that of an augmented copy."""
    return ".rf." in path.rpartition("/")[2]


def _source(path: str) -> str:
    return source_of(path.rpartition("/")[2])


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
