"""Which layouts a YOLO score counts: those of LAMA's filter, of a file, or all that every method has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from detdiffusion.datasets.coco_json import load_json
from detdiffusion.datasets.formats.text_files import read_text
from detdiffusion.evaluation.fidelity import scored_notes
from detdiffusion.evaluation.image_folders import ImageFolder
from detdiffusion.utils.errors import UserError

LAMA = "lama"


def choose_ids(
    folders: Sequence[ImageFolder],
    images: Sequence[dict],
    ids: str | Path | None,
    ann: str | Path,
    stuff: str | Path | None,
    real_images: str | Path,
    notes: list[str],
) -> tuple[list[int], str]:
    """The image ids that are scored, and how they were chosen; see :func:`.yolo_score.evaluate`.

    Raises:
        UserError: ids that a method or the annotation file lacks, or no common layout.
    """
    if ids is None:
        common = set.intersection(*(set(folder.files) for folder in folders)) if folders else set()
        if not common:
            raise UserError(f"the methods {', '.join(f.name for f in folders)} have no layout in common")
        for folder in folders:
            left = len(folder.files) - len(common)
            if left:
                notes.append(
                    f"{folder.name}: {left} layouts are not in every method's folder and were left out"
                )
        notes += scored_notes(len(common), len(images))
        return sorted(common), "layouts that every method has"
    if str(ids) == LAMA:
        chosen, how = _lama_ids(ann, stuff, real_images)
    else:
        chosen, how = _read_ids(ids), f"those of {ids}"
    known = {image["id"] for image in images}
    absent = [i for i in chosen if i not in known]
    if absent:
        raise UserError(f"{ids}: {len(absent)} ids are not images of {ann}, the first {absent[:5]}")
    for folder in folders:
        missing = [i for i in chosen if i not in folder.files]
        if missing:
            raise UserError(
                f"{folder.name}: {folder.path}: {len(missing)} of {len(chosen)} layouts have no image, the first ids "
                f"{missing[:5]}; make them, or leave out `ids` to score what all methods have"
            )
    return sorted(chosen), how


def _lama_ids(ann, stuff, real_images) -> tuple[list[int], str]:
    if stuff is None:
        raise UserError("`ids` lama counts things and stuff: give the stuff json by `stuff`")
    from detdiffusion.datasets.layout_coco import LayoutCocoDataset

    layouts = LayoutCocoDataset([str(ann), str(stuff)], str(real_images))
    how = (
        "LAMA's layouts: 3 to 8 objects of instances and stuff, above 2 % of the image, no crowd, no 'other'; "
        + ", ".join(f"{reason}: {count}" for reason, count in layouts.report.items())
    )
    return [layout.image_id for layout in layouts.layouts], how


def _read_ids(path: str | Path) -> list[int]:
    """Whole numbers of a json list or of a text file, each once."""
    path = Path(path)
    if path.suffix == ".json":
        ids = load_json(path, "list of image ids")
        if not isinstance(ids, list):
            raise UserError(f"{path}: a json list of image ids is wanted, this is {_kind(ids)}")
        wrong = [i for i in ids if isinstance(i, bool) or not isinstance(i, int)]
    else:
        try:
            ids = read_text(path).split()
        except UserError as error:
            raise UserError(f"`ids` {error}; give a file of image ids, or lama") from None
        wrong = [i for i in ids if not (i.isascii() and i.isdigit())]
    if wrong:
        raise UserError(
            f"{path}: image ids are whole numbers, {len(wrong)} of its {len(ids)} entries are not, the first "
            f"{json.dumps(wrong[0])}; write them as in the annotation file's images[].id"
        )
    ids = [int(i) for i in ids]
    twice = len(ids) - len(set(ids))
    if twice or not ids:
        raise UserError(f"{path}: " + (f"{twice} image ids occur twice" if twice else "no image ids"))
    return ids


def _kind(value) -> str:
    return {dict: "an object", str: "a text", bool: "true or false", type(None): "null"}.get(
        type(value), "a number"
    )
