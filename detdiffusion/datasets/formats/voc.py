"""Conversion of Pascal VOC (one XML file per image) to COCO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from detdiffusion.datasets.class_names import similar
from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.progress import Progress

from .conversion import UNREADABLE, Conversion, image_size
from .input_files import IMAGE_SUFFIXES, LABELS, InputFiles, fold, stem_of, suffix_of
from .voc_images import VocImages
from .voc_lists import read_lists
from .voc_xml import NotVoc, corners_of, is_difficult, not_converted, number_of, read_xml, text_of

OTHER_LIST = "list of names that was not requested: not read"


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
    without: str | Path | None = None,
    progress: bool = True,
) -> Conversion:
    """Read a VOC data set with all its sub-folders; names are matched case-insensitively.

    Args:
        root: folder of the data set, with the two folders below and, if it has splits, lists in ``ImageSets/Main``.
        annotations, images: names of the folders in ``root``.
        splits: names of the lists; default: those of train, val, trainval and test that exist. Without lists, all XML
            files form one split, ``all``.
        classes: classes to keep, in this order; default: all, in alphabetical order.
        difficult: how to treat objects marked as difficult: 'crowd' makes them crowd regions, which COCO's evaluation
            ignores, as VOC's evaluation does; 'keep' makes them ordinary objects; 'drop' drops them.
        one_based: whether coordinates count pixels from 1 and include both ends, as in the VOC challenge's files.
        decode: decode every image completely.
        without: a folder inside ``root`` to skip, e.g. the output of an earlier run.
        progress: show progress on stderr.

    Raises:
        UserError: if a folder or list does not exist, a line of a list matches several files, there is no XML file, or
            no object has a class of ``classes``.
    """
    files = InputFiles(without)
    root, xml_dir, image_dir = _folders(files, Path(root), annotations, images)
    set_of = Conversion([], files)
    seen = files.scan(root)
    xml_files: dict[str, Path] = {}
    for path in seen:
        if suffix_of(path) == ".xml" and path.is_relative_to(xml_dir):
            name = stem_of(path.relative_to(xml_dir).as_posix())
            if xml_files.setdefault(name, path) != path:
                set_of.leave_out(path, "annotation file with a duplicate name: left out")
    if not xml_files:
        raise UserError(f"{xml_dir}: no .xml file in this folder or its sub-folders")
    wanted = read_lists(set_of, root, splits, list(xml_files), (xml_dir.name, image_dir.name))
    used = {name for names in wanted.values() for name in names}
    parsed = {}
    for name, path in xml_files.items():
        if name not in used:
            set_of.leave_out(path, "annotation file in none of the splits: left out")
            continue
        try:
            parsed[name] = read_xml(path)
        except NotVoc as error:
            set_of.leave_out(path, "broken XML, or no VOC annotation: left out", str(error))
    set_of.classes = _classes(set_of, parsed.values(), classes)
    set_of.looked = f"<object> with <bndbox> was looked for in {len(parsed)} XML files below {xml_dir}"

    pictures = [path for path in seen if suffix_of(path) in IMAGE_SUFFIXES and path.is_relative_to(image_dir)]
    pictures = VocImages(files, image_dir, pictures, xml_files)
    ids: dict[str, int] = {}
    with Progress("reading", total=len(parsed), enabled=progress) as bar:
        for name, tree in bar.track(parsed.items()):
            path = _image_of(set_of, name, xml_files[name], tree, pictures)
            image_id = path and _add_image(set_of, xml_files[name], tree, path, image_dir, decode)
            if image_id is not None:
                ids[name] = image_id
                _add_objects(set_of, image_id, files.name(xml_files[name]), tree, difficult, one_based)
    set_of.splits = {split: [ids[n] for n in names if n in ids] for split, names in wanted.items()}
    lost = {fold(stem_of(path.name)) for name, path in xml_files.items() if name not in ids}
    set_of.close(lambda path: _reason(path, xml_dir, image_dir, lost))
    return set_of


def _folders(files: InputFiles, root: Path, annotations: str, images: str) -> tuple[Path, Path, Path]:
    root = files.find(root) or root
    found = []
    for name in (annotations, images):
        folder = files.find_folder(root / name)
        if folder is None:
            raise UserError(
                f"{root / name}: no such folder; a VOC data set contains {annotations!r} and {images!r}"
                + _did_you_mean(files, root, annotations, images)
            )
        found.append(folder)
    return root, found[0], found[1]


def _did_you_mean(files: InputFiles, root: Path, *needed: str) -> str:
    """Suggest the parent or sub-folders of ``root`` that contain the missing folders."""
    inside = root if root.is_dir() else root.parent
    around = [root.parent, *(sorted(inside.iterdir()) if inside.is_dir() else ())]
    found = [str(folder) for folder in around if all(files.find(folder / name) for name in needed)]
    return f"; did you mean {' or '.join(found[:3])}?" if found else ""


def _classes(set_of: Conversion, trees: Iterable[Element], asked: Sequence[str] | None) -> list[str]:
    """Return the requested classes, or all; counts those that differ only by case."""
    names = (text_of(node, "name") for tree in trees for node in tree.iter("object"))
    counts = Counter(filter(None, names))
    known = sorted(counts)
    same: dict[str, list[str]] = {}
    for name in known:
        same.setdefault(fold(name), []).append(f"{name} {counts[name]}")
    for names in same.values():
        if len(names) > 1:
            set_of.count("class whose names differ only by case: kept apart", ", ".join(names))
    if not asked:
        return known
    if len(set(asked)) < len(asked):
        raise UserError(f"`classes`: a name is given twice: {' '.join(asked)}")
    wrong = [f"{name!r} ({similar(name, known)})" for name in asked if name not in counts]
    if wrong:
        raise UserError(f"`classes`: no object of the XML files is called {', '.join(wrong)}")
    return list(asked)


def _image_of(set_of: Conversion, name: str, xml: Path, tree: Element, pictures: VocImages) -> Path | None:
    found, remark = pictures.of(name, tree)
    if len(found) != 1:
        reason = (
            "annotation file that matches several images" if found else "annotation file without an image"
        )
        set_of.leave_out(xml, f"{reason}: left out", some(map(set_of.files.name, found)))
        return None
    if remark:
        set_of.count(remark, f"{set_of.files.name(xml)}: {text_of(tree, 'filename')}")
    return found[0]


def _add_image(
    set_of: Conversion, xml: Path, tree: Element, path: Path, image_dir: Path, decode: bool
) -> int | None:
    name = set_of.files.name(path)
    if set_of.files.is_used(path):
        set_of.leave_out(xml, "annotation file whose image has another already: left out", name)
        return None
    size = image_size(path, decode)
    if isinstance(size, str):
        set_of.leave_out(path, UNREADABLE, size)
        set_of.leave_out(xml, "annotation file of an image that is left out: left out", name)
        return None
    stated = tuple(number_of(tree.find("size"), side) for side in ("width", "height"))
    if None not in stated and all(stated) and stated != size:
        set_of.leave_out(
            xml,
            "annotation file that states another size than its image has: left out, its boxes would be misplaced",
            f"{stated[0]:g} x {stated[1]:g}, {name}: {size[0]} x {size[1]}",
        )
        return None
    set_of.files.use(xml, LABELS)
    return set_of.add_image(path, path.relative_to(image_dir).as_posix(), size)


def _add_objects(
    set_of: Conversion, image_id: int, xml: str, tree: Element, difficult: str, one_based: bool
) -> None:
    labels = {name: k for k, name in enumerate(set_of.classes)}
    if tree.find(".//object") is None:
        set_of.count("annotation file without <object>: used as an image without objects", xml)
    for index, node in enumerate(tree.iter("object"), 1):
        where, name = f"{xml}, object {index}", text_of(node, "name")
        if name not in labels:
            reason = "object of a class that was not requested" if name else "object without a name"
            set_of.count(f"{reason}: left out", f"{where}, {name}" if name else where)
            continue
        corners = corners_of(node)
        if isinstance(corners, str):
            set_of.count(corners, f"{where}, {name}")
            continue
        for extra in not_converted(node):
            set_of.count(extra, f"{where}, {name}")
        x1, y1, x2, y2 = corners
        if one_based:
            x1, y1 = x1 - 1, y1 - 1
        extra = {}
        if is_difficult(node):
            if difficult == "drop":
                set_of.count("object marked difficult: left out", where)
                continue
            extra = dict(difficult=1, **(dict(iscrowd=1) if difficult == "crowd" else {}))
            if difficult == "crowd":
                set_of.count("object marked difficult: a crowd region, neither rewarded nor punished", where)
        set_of.add_object(image_id, labels[name], (x1, y1, x2 - x1, y2 - y1), where, **extra)


def _reason(path: Path, xml_dir: Path, image_dir: Path, lost: set[str]) -> str | None:
    """Return why a file of the folder is not used."""
    suffix = suffix_of(path)
    if suffix == ".xml":
        return f"XML outside the folder {xml_dir.name}: left out"
    if suffix in IMAGE_SUFFIXES:
        if not path.is_relative_to(image_dir):
            return f"image outside the folder {image_dir.name}: left out"
        if fold(stem_of(path.name)) in lost:
            return "image whose annotation file is left out: left out"
        return "image without an annotation file: left out"
    if suffix == ".txt" and any(fold(part) == "imagesets" for part in path.parts):
        return OTHER_LIST
    return None
