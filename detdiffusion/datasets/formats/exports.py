"""Writing data sets for other programs: YOLO with a ``data.yaml``, and Hugging Face's image folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.progress import Progress

from .any_form import read_set
from .class_lists import common_classes
from .conversion import Conversion, place_file
from .recognise import recognise

CROWD = "crowd region, which the format cannot express: left out"


@dataclass
class ExportedImage:
    """One image of an exported set.

    Attributes:
        split: its split.
        name: file name in the exported set, unique without its suffix in the split.
        source: the image file.
        size: width and height in pixels.
        objects: ``(class number, COCO annotation)`` of its objects.
    """

    split: str
    name: str
    source: Path
    size: tuple[int, int]
    objects: list[tuple[int, dict]]


@dataclass
class Export:
    """The data to export, from one or more sets.

    Attributes:
        classes: class names; an object's class number is their index.
        images: the images.
        report: what was left out -> count.
        sources: descriptions of the sets.
    """

    classes: list[str]
    images: list[ExportedImage]
    report: Counter = field(default_factory=Counter)
    sources: list[str] = field(default_factory=list)

    @property
    def splits(self) -> dict[str, list[ExportedImage]]:
        """Split -> its images; train, val and test first."""
        found: dict[str, list[ExportedImage]] = {name: [] for name in ("train", "val", "test")}
        for image in self.images:
            found.setdefault(image.split, []).append(image)
        return {name: images for name, images in found.items() if images}

    def summary(self) -> str:
        """Return a line for every split and for everything left out."""
        lines = []
        for split, images in self.splits.items():
            lines.append(f"{split}: {len(images)} images, {sum(len(i.objects) for i in images)} objects")
        return "\n".join([*lines, *(f"  {count} × {reason}" for reason, count in self.report.items())])


def read_for_export(sources: Sequence[str], img_dir: str | Path | None = None, crowds: bool = True) -> Export:
    """Read data sets to export as one.

    Args:
        sources: ``SOURCE`` or ``SPLIT=SOURCE``; a source is a folder, json or yaml of any form that
            :func:`~detdiffusion.datasets.formats.recognise.recognise` knows, and ``SPLIT`` replaces the name of its
            only split. Sources of the same split are joined.
        img_dir: folder of the images of COCO jsons, where it cannot be found beside them.
        crowds: whether to keep crowd regions.

    Raises:
        UserError: if a source cannot be read, ``SPLIT`` is given for a set of several splits, or sets differ in their
            classes.
    """
    sets: list[tuple[str, str, Conversion]] = []
    for text in sources:
        split, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            split, path = "", text
        converted = read_set(recognise(path, img_dir), decode=False)
        if split and len(converted.splits) != 1:
            raise UserError(
                f"{text}: SPLIT= is for a set without splits, but {path} has {', '.join(converted.splits)}; give the "
                "annotation file of one of them"
            )
        sets.append((split, path, converted))
    classes = common_classes({path: c.classes for _, path, c in sets}, "the given sets")
    export = Export(classes, [], sources=[path for _, path, _ in sets])
    taken: set[tuple[str, str]] = set()
    for split, _, converted in sets:
        export.images += _images_of(converted, split, export, taken, crowds)
        export.report.update(converted.report)
    if not export.images:
        raise UserError(f"{', '.join(sources)}: no image to export")
    return export


def _images_of(
    converted: Conversion, split: str, export: Export, taken: set[tuple[str, str]], crowds: bool
) -> Iterator[ExportedImage]:
    number_of = {label: export.classes.index(name) for label, name in enumerate(converted.classes, 1)}
    objects: dict[int, list[tuple[int, dict]]] = {}
    for annotation in converted.annotations:
        if annotation["iscrowd"] and not crowds:
            export.report[CROWD] += 1
            continue
        objects.setdefault(annotation["image_id"], []).append(
            (number_of[annotation["category_id"]], annotation)
        )
    for name, ids in converted.splits.items():
        place = split or ("train" if name == "all" else name)
        for image in (converted.images[i - 1] for i in ids):
            unique = _unique(place, _plain(image["file_name"], name), taken)
            size = (image["width"], image["height"])
            yield ExportedImage(
                place, unique, converted.sources[image["id"]], size, objects.get(image["id"], [])
            )


def _plain(file_name: str, split: str) -> str:
    """Return a file name without the folder of its split, and without folders named ``images``, which Ultralytics would
    replace by ``labels``."""
    parts = list(PurePosixPath(file_name.replace("\\", "/")).parts)
    if len(parts) > 1 and parts[0] == split:
        parts = parts[1:]
    return "/".join([*(part for part in parts[:-1] if part.lower() != "images"), parts[-1]])


def _unique(split: str, name: str, taken: set[tuple[str, str]]) -> str:
    path, number = PurePosixPath(name), 1
    while (split, str(path.with_suffix("")).casefold()) in taken:
        number += 1
        path = PurePosixPath(name).with_stem(f"{PurePosixPath(name).stem}_{number}")
    taken.add((split, str(path.with_suffix("")).casefold()))
    return str(path)


def write_yolo(export: Export, out: str | Path, placing: str = "link") -> Path:
    """Write ``OUT/{images,labels}/<split>`` and ``OUT/data.yaml`` as Ultralytics trains on them.

    Args:
        export: the data, without crowd regions.
        out: output folder.
        placing: 'link' creates symbolic links, 'copy' copies, 'none' does not place the images.

    Returns:
        Path of the data.yaml.

    Raises:
        UserError: if a file cannot be written.
    """
    import yaml

    out = Path(out)
    names = [Path(image.split, image.name) for image in export.images]
    _check_free(out / "images", names)
    _check_free(out / "labels", [name.with_suffix(".txt") for name in names])
    for image in _placed(export, out, placing, lambda image: Path("images", image.split, image.name)):
        width, height = image.size
        rows = []
        for number, annotation in image.objects:
            x, y, w, h = annotation["bbox"]
            shares = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
            rows.append(" ".join([str(number), *(f"{share:.10f}".rstrip("0") for share in shares)]) + "\n")
        _write(out / "labels" / image.split / Path(image.name).with_suffix(".txt"), "".join(rows))
    data = dict(path=str(out.resolve()), **{split: f"images/{split}" for split in export.splits})
    data.update(nc=len(export.classes), names=dict(enumerate(export.classes)))
    write_atomic(out / "data.yaml", yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode())
    return out / "data.yaml"


def write_image_folder(export: Export, out: str | Path, placing: str = "link") -> list[Path]:
    """Write images and a ``metadata.jsonl`` per split, as ``datasets.load_dataset("imagefolder")`` reads them.

    A line has ``file_name``, ``width``, ``height`` and ``objects``: ``bbox`` (x, y, width, height in pixels),
    ``categories`` (class numbers from 0), ``names``, ``area`` and ``iscrowd``. ``OUT/classes.txt`` has the class names.

    Args:
        export: the data.
        out: output folder.
        placing: 'link' creates symbolic links, 'copy' copies, 'none' does not place the images.

    Returns:
        Paths of the metadata files.

    Raises:
        UserError: if a file cannot be written.
    """
    out, lines = Path(out), {split: [] for split in export.splits}
    folders = {split: "validation" if split == "val" else split for split in lines}
    for split, folder in folders.items():
        own = [Path(image.name) for image in export.splits[split]]
        _check_free(out / folder, [Path("metadata.jsonl"), *own])
    for image in _placed(export, out, placing, lambda image: Path(folders[image.split], image.name)):
        annotations = [annotation for _, annotation in image.objects]
        objects = dict(
            bbox=[annotation["bbox"] for annotation in annotations],
            categories=[number for number, _ in image.objects],
            names=[export.classes[number] for number, _ in image.objects],
            area=[annotation["area"] for annotation in annotations],
            iscrowd=[annotation["iscrowd"] for annotation in annotations],
        )
        row = dict(file_name=image.name, width=image.size[0], height=image.size[1], objects=objects)
        lines[image.split].append(json.dumps(row) + "\n")
    write_atomic(out / "classes.txt", "".join(f"{name}\n" for name in export.classes).encode())
    written = []
    for split, rows in lines.items():
        written.append(out / folders[split] / "metadata.jsonl")
        write_atomic(written[-1], "".join(rows).encode())
    return written


def _check_free(folder: Path, own: Iterable[Path]) -> None:
    """Raise a UserError if a folder holds other files, which the reader of the set would take for a part of it."""
    if not folder.is_dir():
        return
    files = (
        path for path in folder.rglob("*") if path.suffix != ".cache" and not path.is_dir()
    )  # Ultralytics' caches
    others = {path.relative_to(folder) for path in files} - set(own)
    if others:
        raise UserError(
            f"{folder}: holds {len(others)} files of another set ({some(sorted(others))}); choose another `out`, or "
            "remove it"
        )


def _write(path: Path, text: str) -> None:
    """Write one of many small files; :func:`write_atomic` would wait for the disk each time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror or error}") from None


def _placed(export: Export, out: Path, placing: str, place_of) -> Iterable[ExportedImage]:
    with Progress("writing", total=len(export.images)) as bar:
        for image in bar.track(export.images):
            if placing != "none":
                place_file(image.source, out / place_of(image), placing == "copy")
            yield image
