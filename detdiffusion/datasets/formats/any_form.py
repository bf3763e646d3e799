"""Reading a labelled data set of any form that is recognised by its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.findings import Finding, Severity

from .coco_exports import MISSING, OTHER_SIZE, ROOT_CATEGORY, read_coco_export
from .conversion import UNREADABLE, Conversion
from .input_files import COMPANION, HIDDEN, LOOP, OTHER_KIND
from .recognise import LabelledSource, recognise, split_name
from .voc import OTHER_LIST, read_voc
from .yolo import NO_LABELS, read_yolo
from .yolo_data import MISSING as MISSING_IN_LIST

_ERRORS = (MISSING, MISSING_IN_LIST, OTHER_SIZE, UNREADABLE)
_NOTES = (COMPANION, HIDDEN, LOOP, NO_LABELS, OTHER_KIND, OTHER_LIST, ROOT_CATEGORY)


def read_set(
    source: str | Path | LabelledSource,
    *,
    img_dir: str | Path | None = None,
    classes: Sequence[str] | None = None,
    task: str = "auto",
    one_based: bool = False,
    decode: bool = True,
    without: str | Path | None = None,
    progress: bool = True,
    segmentations: bool = True,
) -> Conversion:
    """Read a data set of any form that :func:`~detdiffusion.datasets.formats.recognise.recognise` knows.

    Args:
        source: its folder, or its COCO json or ``data.yaml``; or the result of ``recognise``.
        img_dir: folder of the images of COCO jsons, where it cannot be found beside them.
        classes: classes to keep, in this order; default: all. Not for YOLO, whose labels are numbers.
        task: meaning of the rows of YOLO labels, see :func:`~detdiffusion.datasets.formats.yolo.read_yolo`.
        one_based: whether VOC's coordinates count from 1, see :func:`~detdiffusion.datasets.formats.voc.read_voc`.
        decode: decode every image completely.
        without: a folder inside the set to skip, e.g. the output of an earlier run.
        progress: show progress on stderr.
        segmentations: False leaves out those of COCO jsons (but counts them), for files too large for memory.

    Raises:
        UserError: see ``recognise`` and the readers of the forms.
    """
    found = source if isinstance(source, LabelledSource) else recognise(source, img_dir)
    options = dict(decode=decode, without=without, progress=progress)
    if found.parts:
        return read_coco_export(found, classes=classes, segmentations=segmentations, **options)
    if found.yolo:
        if classes:
            raise UserError(
                "`classes` is not for YOLO sets: their labels are the numbers of the names in data.yaml"
            )
        return read_yolo(**found.yolo, task=task, **options)
    converted = read_voc(**found.voc, classes=classes, one_based=one_based, **options)
    if found.voc["annotations"] == ".":
        _split_by_folder(converted)
    return converted


def reading_findings(converted: Conversion, where: str) -> list[Finding]:
    """Return what a reader counted as findings: images that cannot be used are errors, since a training stops at them.

    Args:
        converted: the result of :func:`read_set`.
        where: the set.
    """
    found = []
    for reason, count in converted.report.items():
        severity: Severity = "error" if reason in _ERRORS else "note" if reason in _NOTES else "warning"
        places = "; ".join(converted.examples[reason]) + (
            "; …" if count > len(converted.examples[reason]) else ""
        )
        problem, _, done = reason.partition(": ")
        if severity == "error":
            done = "correct it, or train on the result of to_coco.py, which leaves it out"
        found.append(Finding(where, places, problem, remedy=done, severity=severity, count=count))
    return found


def _split_by_folder(converted: Conversion) -> None:
    """Split a set whose images lie in the folders train, valid and test (Roboflow's VOC export)."""
    folders: dict[str, list[int]] = {}
    for image in converted.images:
        top, slash, _ = image["file_name"].partition("/")
        folders.setdefault((slash and split_name(top)) or "", []).append(image["id"])
    if "" not in folders:
        converted.splits = folders
