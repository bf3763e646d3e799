"""Recognising the form of a labelled data set by its files.

============== ======================================================================================================
form           files
============== ======================================================================================================
COCO           ``annotations/instances_*.json`` or ``annotations/{train,val,test}.json``, or a json beside ``images``
Roboflow       ``_annotations.coco.json`` beside the images, in ``train``, ``valid`` and ``test``
CVAT           COCO 1.0: ``annotations/instances_*.json``, images in ``images`` or ``data``; YOLO 1.1: ``obj.names``
Label Studio   ``result.json`` and ``images``; YOLO: ``classes.txt``, ``images`` and ``labels``
Pascal VOC     ``Annotations/*.xml`` and ``JPEGImages`` or ``images``, or XML files beside the images
YOLO           ``data.yaml`` with ``names``, or ``images``, ``labels`` and ``classes.txt``
============== ======================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detdiffusion.utils.errors import UserError, some

from .input_files import IMAGE_SUFFIXES, InputFiles, fold, stem_of, suffix_of
from .text_files import read_text

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""Name of a folder or file -> name of the split in a converted set."""
ROBOFLOW_FILE = "_annotations.coco.json"
_JSONS = re.compile(
    r"(instances|annotations|labels|result|coco)([_.-].*)?|(train|val|valid|validation|test)\d*"
)
_MAIN = ("instances", "annotations", "labels", "coco")
_NAMES = ("classes.txt", "obj.names", "names.txt")


@dataclass(frozen=True)
class CocoPart:
    """One COCO json of a data set.

    Attributes:
        split: name of its split.
        ann_file: the json.
        folders: where its images may be, the most likely first.
    """

    split: str
    ann_file: Path
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class LabelledSource:
    """A data set whose form is known.

    Attributes:
        form: ``COCO``, ``Roboflow``, ``CVAT``, ``Label Studio``, ``Pascal VOC`` or ``YOLO``.
        root: its folder, or its file if one was given.
        parts: its jsons; empty for VOC and YOLO.
        voc: arguments of :func:`~detdiffusion.datasets.formats.voc.read_voc` for VOC.
        yolo: arguments of :func:`~detdiffusion.datasets.formats.yolo.read_yolo` for YOLO.
    """

    form: str
    root: Path
    parts: tuple[CocoPart, ...] = ()
    voc: dict[str, Any] = field(default_factory=dict)
    yolo: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the form and the files that it was recognised by."""
        if self.voc:
            return f"{self.form} ({self.voc['annotations']}/*.xml, {self.voc['images']})"
        files = [part.ann_file for part in self.parts] or list(self.yolo.values())
        inside = [path.relative_to(self.root) if self.root in path.parents else path.name for path in files]
        return f"{self.form} ({', '.join(map(str, inside))})"


def recognise(source: str | Path, img_dir: str | Path | None = None) -> LabelledSource:
    """Recognise the form of a data set.

    Args:
        source: its folder, or its COCO json or ``data.yaml``.
        img_dir: folder of the images of COCO jsons, where it cannot be found beside them.

    Raises:
        UserError: if there is no such file or folder, the form is unknown, or a folder holds labels in several forms.
    """
    source = Path(source)
    if source.is_file():
        found = _of_file(source)
    elif source.is_dir():
        found = _of_folder(source)
    else:
        raise UserError(f"{source}: no such file or folder{_near(source)}")
    if img_dir is None:
        return found
    if not found.parts:
        raise UserError(
            f"`img_dir` is for COCO jsons, but {source} is a {found.form} set, which names its images itself"
        )
    folder = Path(img_dir)
    if not folder.is_dir():
        raise UserError(f"`img_dir`: {folder}: no such folder")
    parts = tuple(CocoPart(part.split, part.ann_file, (folder,)) for part in found.parts)
    return LabelledSource(found.form, found.root, parts)


def split_name(name: str) -> str | None:
    """Return the split that a folder's or file's name states (``instances_val2017`` -> ``val``), or None."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), None)


def _of_file(path: Path) -> LabelledSource:
    suffix = suffix_of(path)
    if suffix in (".yaml", ".yml"):
        return LabelledSource("YOLO", path, yolo=dict(data=path))
    if path.name == ROBOFLOW_FILE:
        part = CocoPart(split_name(path.parent.name) or "all", path, (path.parent,))
        return LabelledSource("Roboflow", path, (part,))
    if suffix == ".json":
        return LabelledSource(
            "COCO", path, (CocoPart(split_name(path.stem) or "all", path, _image_folders(path)),)
        )
    raise UserError(
        f"{path}: not a labelled data set: give a COCO json, a data.yaml, or the folder of a COCO, VOC, YOLO, "
        "Roboflow, CVAT or Label Studio set"
    )


def _of_folder(folder: Path) -> LabelledSource:
    files = InputFiles()
    found = [source for test in (_roboflow, _coco, _voc, _yolo) if (source := test(folder, files))]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{folder}: holds labels in several forms: {'; '.join(map(str, found))}; give the json, the data.yaml or "
            "the sub-folder that is meant"
        )
    raise UserError(f"{folder}: no labels of a known form in this folder; {_advice(folder, files)}")


def _roboflow(folder: Path, files: InputFiles) -> LabelledSource | None:
    if (folder / ROBOFLOW_FILE).is_file():
        return LabelledSource("Roboflow", folder, _of_file(folder / ROBOFLOW_FILE).parts)
    inner = [child for child in _folders(folder) if (child / ROBOFLOW_FILE).is_file()]
    parts = tuple(CocoPart(split_name(c.name) or c.name, c / ROBOFLOW_FILE, (c,)) for c in _in_order(inner))
    return LabelledSource("Roboflow", folder, parts) if parts else None


def _coco(folder: Path, files: InputFiles) -> LabelledSource | None:
    result = files.find(folder / "result.json")
    if result and files.find_folder(folder / "images"):
        part = CocoPart("all", result, (folder, folder / "images"))
        return LabelledSource("Label Studio", folder, (part,))
    inner = files.find_folder(folder / "annotations")
    for place in (inner, folder):
        jsons = [p for p in _files(place, ".json") if _JSONS.fullmatch(p.stem.lower())] if place else []
        if instances := [path for path in jsons if path.stem.lower().startswith("instances")]:
            jsons = instances
        if not jsons:
            continue
        splits = [split_name(path.stem) or "all" for path in jsons]
        main = [path for path in jsons if path.stem.lower() in _MAIN]
        if main and set(splits) == {"all"}:  # beside them may be the results of filters
            jsons, splits = main[:1], ["all"]
        if len(set(splits)) < len(splits):  # train2014 and train2017
            splits = [re.sub(r"^instances_", "", path.stem) for path in jsons]
        parts = [CocoPart(split, path, _image_folders(path)) for split, path in zip(splits, jsons)]
        exported = (
            place is inner and instances and any(files.find_folder(folder / n) for n in ("images", "data"))
        )
        return LabelledSource(
            "CVAT" if exported else "COCO", folder, tuple(_in_order(parts, lambda part: part.split))
        )
    return None


def _voc(folder: Path, files: InputFiles) -> LabelledSource | None:
    inner = files.find_folder(folder / "Annotations")
    if inner and next(_below(inner, ".xml"), None):
        images = next(filter(None, (files.find_folder(folder / n) for n in ("JPEGImages", "images"))), None)
        name = images.name if images else "JPEGImages"
        return LabelledSource(
            "Pascal VOC", folder, voc=dict(root=folder, annotations=inner.name, images=name)
        )
    beside = [
        place
        for place in (folder, *_folders(folder))
        if _files(place, ".xml") and _files(place, *IMAGE_SUFFIXES)
    ]
    return (
        LabelledSource("Pascal VOC", folder, voc=dict(root=folder, annotations=".", images="."))
        if beside
        else None
    )


def _yolo(folder: Path, files: InputFiles) -> LabelledSource | None:
    yamls = [path for path in _files(folder, ".yaml", ".yml") if _has_names(path)]
    named = [path for path in yamls if fold(stem_of(path.name)) in ("data", "dataset")]
    if len(yamls := named[:1] or yamls) > 1:
        raise UserError(
            f"{folder}: holds several YOLO data files ({some(p.name for p in yamls)}); give one of them"
        )
    if yamls:
        return LabelledSource("YOLO", folder, yolo=dict(data=yamls[0]))
    names = next((path for name in _NAMES if (path := files.find(folder / name))), None)
    if names is None:
        return None
    images, labels = (files.find_folder(folder / name) for name in ("images", "labels"))
    together = files.find_folder(folder / "obj_train_data")
    if images and labels:
        return LabelledSource("YOLO", folder, yolo=dict(images=images, labels=labels, names=names))
    if together:
        return LabelledSource("YOLO", folder, yolo=dict(images=together, labels=together, names=names))
    return None


def _has_names(path: Path) -> bool:
    try:
        return re.search(r"^['\"]?names['\"]?\s*:", read_text(path), re.MULTILINE) is not None
    except UserError:
        return False


def _image_folders(ann_file: Path) -> tuple[Path, ...]:
    """Return the folders in which the images of a json may be."""
    parent, above = ann_file.parent, ann_file.parent.parent
    subset = re.sub(r"^instances_", "", ann_file.stem)
    places = []
    for base in (parent, above):
        places += [base / "images" / subset, base / "images", base / "data", base / subset, base]
    return tuple(places)


def _advice(folder: Path, files: InputFiles) -> str:
    """Say what is missing, or which folder nearby was probably meant."""
    if files.find_folder(folder / "labels") and files.find_folder(folder / "images"):
        return "it has images and labels, but no class names: write them to classes.txt, one per line, or to data.yaml"
    for near in (*_folders(folder), folder.absolute().parent):
        if any(test(near, files) for test in (_roboflow, _coco, _voc, _yolo)):
            return f"did you mean {near}?"
    jsons = _files(folder, ".json")
    hint = f"to read {some(p.name for p in jsons)} as COCO, give the file itself; " if jsons else ""
    return (
        f"{hint}known are annotations/*.json (COCO, CVAT), _annotations.coco.json (Roboflow), result.json "
        f"(Label Studio), Annotations/*.xml (VOC) and data.yaml or classes.txt (YOLO); it holds "
        f"{some((p.name for p in sorted(folder.iterdir())), 5) or 'nothing'}"
    )


def _near(path: Path) -> str:
    import difflib

    parent = path.absolute().parent
    if not parent.is_dir():
        while not parent.is_dir():
            parent = parent.parent
        return f"; the last folder of its path that exists is {parent}"
    close = difflib.get_close_matches(path.name, [p.name for p in parent.iterdir()], n=2)
    return f"; did you mean {' or '.join(str(path.parent / name) for name in close)}?" if close else ""


def _in_order(items: list, name: Callable = lambda path: path.name) -> list:
    """Sort splits: train, val and test first."""
    order = {"train": 0, "val": 1, "test": 2}
    return sorted(items, key=lambda item: (order.get(split_name(name(item)), 3), name(item)))


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(folder: Path, *suffixes: str) -> list[Path]:
    return sorted(
        p for p in folder.iterdir() if suffix_of(p) in suffixes and p.is_file() and p.name[0] != "."
    )


def _below(folder: Path, suffix: str) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if suffix_of(path) == suffix)
