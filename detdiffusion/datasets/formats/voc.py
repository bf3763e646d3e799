"""Pascal VOC (one XML an image) to COCO."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.file_names import check_file_name

from .conversion import IMAGE_SUFFIXES, UNREADABLE, Conversion, find_image, image_size

SPLITS = ("train", "val", "trainval", "test")


def read_voc(
    root: str | Path,
    *,
    annotations: str = "Annotations",
    images: str = "JPEGImages",
    splits: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    difficult: str = "crowd",
    one_based: bool = False,
    decode: bool = True,
    progress: bool = True,
) -> Conversion:
    """Reads a VOC folder.

    Args:
        root: holds the two folders, and lists of names in ``ImageSets/Main`` where there are splits.
        annotations, images: folders below ``root``.
        splits: names of the lists; default: those of train, val, trainval and test that are there. Without lists
            all XML files are one split, ``all``.
        classes: names to keep, in this order; default: all, by alphabet.
        difficult: what becomes of objects marked so: 'crowd' makes them crowd regions, which COCO's evaluation
            neither rewards nor punishes, as VOC's own does; 'keep' ordinary objects; 'drop' nothing.
        one_based: coordinates count pixels from 1, both ends included, as in the VOC challenge's own files.
        decode: read every image to its end.
        progress: print a bar on stderr.

    Raises:
        UserError: no such folder or list, or no XML file.
    """
    from tqdm import tqdm

    root = Path(root)
    xml_dir, image_dir = root / annotations, root / images
    for folder in (xml_dir, image_dir):
        if not folder.is_dir():
            raise UserError(
                f"{folder}: no such folder; a VOC set has {annotations!r} and {images!r} in it"
                + _did_you_mean(root, annotations, images)
            )
    files = {path.stem: path for path in sorted(xml_dir.glob("*.xml"))}
    if not files:
        raise UserError(f"{xml_dir}: no .xml file in it")
    set_of = Conversion([])
    wanted = _splits(root, splits, files, set_of)
    used = [name for name in files if any(name in names for names in wanted.values())]
    for name in files:
        if name not in used:
            set_of.count("annotation file in none of the splits: left out", files[name].name)
    parsed = {}
    for name in used:
        try:
            parsed[name] = ElementTree.parse(files[name]).getroot()
        except (ElementTree.ParseError, OSError, UnicodeDecodeError, LookupError, ValueError) as error:
            set_of.count("broken XML: left out", f"{files[name].name}: {error}")
    set_of.classes = list(classes) if classes else _class_names(parsed.values())

    ids: dict[str, int] = {}
    taken: set[Path] = set()
    for name, tree in tqdm(parsed.items(), desc="images", unit="img", disable=not progress):
        image_id = _add_image(set_of, files[name], tree, image_dir, decode, taken)
        if image_id is not None:
            ids[name] = image_id
            _add_objects(set_of, image_id, files[name].name, tree, difficult, one_based)
    for path in sorted(image_dir.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.stem not in files and path not in taken:
            set_of.count("image without an annotation file: left out", path.name)
    set_of.splits = {split: [ids[n] for n in names if n in ids] for split, names in wanted.items()}
    return set_of


def _did_you_mean(root: Path, *needed: str) -> str:
    """The folders around ``root``, or those in it, that have what was missing."""
    inside = root if root.is_dir() else root.parent
    around = [root.parent, *(sorted(inside.iterdir()) if inside.is_dir() else ())]
    found = [str(folder) for folder in around if all((folder / name).is_dir() for name in needed)]
    return f"; did you mean {' or '.join(found[:3])}?" if found else ""


def _splits(
    root: Path, splits: Sequence[str] | None, files: dict, set_of: Conversion
) -> dict[str, list[str]]:
    lists = root / "ImageSets" / "Main"
    if splits is None:
        splits = [name for name in SPLITS if (lists / f"{name}.txt").is_file()]
        if not splits:
            return {"all": list(files)}
    wanted = {}
    for split in splits:
        path = lists / f"{check_file_name(split, '--splits')}.txt"
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot read this list of names: {error}") from None
        names = [line.split()[0] for line in lines if line.strip()]
        for name in names:
            if name not in files:
                set_of.count("name in a list without an annotation file: left out", f"{path.name}: {name}")
        known = [name for name in names if name in files]
        if len(set(known)) < len(known):
            set_of.report["name twice in a list: taken once"] += len(known) - len(set(known))
            set_of.examples["name twice in a list: taken once"] = [path.name]
        wanted[split] = list(dict.fromkeys(known))
    return wanted


def _class_names(trees) -> list[str]:
    return sorted({name for tree in trees for one in tree.iter("object") if (name := _text(one, "name"))})


def _add_image(set_of: Conversion, xml: Path, tree, image_dir: Path, decode: bool, taken: set) -> int | None:
    path = None
    if named := _text(tree, "filename"):
        try:
            path = image_dir / check_file_name(named, xml.name)
        except UserError:
            set_of.count(
                "file name that leaves its folder: refused, the XML's own name is used",
                f"{xml.name}: {named}",
            )
        if path is not None and not path.is_file():
            set_of.count(
                "no image of the name in the XML: the XML's own name is used", f"{xml.name}: {named}"
            )
            path = None
    path = path or find_image(image_dir, xml.stem)
    if path is None:
        set_of.count("annotation file without an image: left out", xml.name)
        return None
    if path in set_of.sources.values():
        set_of.count(
            "image of another annotation file already: this one is left out", f"{xml.name}: {path.name}"
        )
        return None
    taken.add(path)
    size = image_size(path, decode)
    if isinstance(size, str):
        set_of.count(UNREADABLE, f"{path.name}: {size}")
        return None
    stated = tuple(_number(tree.find("size"), side) for side in ("width", "height"))
    if None not in stated and all(stated) and stated != size:
        set_of.count(
            "image of another size than its XML says: left out, its boxes would be misplaced",
            f"{xml.name}: {stated[0]:g} x {stated[1]:g}, {path.name}: {size[0]} x {size[1]}",
        )
        return None
    return set_of.add_image(path, path.relative_to(image_dir).as_posix(), size)


def _add_objects(set_of: Conversion, image_id: int, xml: str, tree, difficult: str, one_based: bool) -> None:
    labels = {name: k for k, name in enumerate(set_of.classes)}
    for index, one in enumerate(tree.iter("object"), 1):
        where, name = f"{xml}, object {index}", _text(one, "name")
        if name not in labels:
            set_of.count(
                "object of a class that is not asked for: left out"
                if name
                else "object without a name: left out",
                where,
            )
            continue
        corners = [_number(one.find("bndbox"), side) for side in ("xmin", "ymin", "xmax", "ymax")]
        if None in corners:
            set_of.count("object without a box of four numbers: left out", where)
            continue
        x1, y1, x2, y2 = corners
        if one_based:
            x1, y1 = x1 - 1, y1 - 1
        extra = {}
        if _text(one, "difficult") == "1":
            if difficult == "drop":
                set_of.count("object marked difficult: left out", where)
                continue
            extra = dict(difficult=1, **(dict(iscrowd=1) if difficult == "crowd" else {}))
            if difficult == "crowd":
                set_of.count("object marked difficult: a crowd region, neither rewarded nor punished", where)
        set_of.add_object(image_id, labels[name], (x1, y1, x2 - x1, y2 - y1), where, **extra)


def _text(node, tag: str) -> str:
    return (node.findtext(tag) or "").strip()


def _number(node, tag: str) -> float | None:
    try:
        value = float(node.findtext(tag))
    except (AttributeError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
