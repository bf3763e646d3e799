"""``tools/dataset_converters/voc_to_coco.py``."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..case import Case, Run
from ..reading import IMAGE_SUFFIXES, find_files, is_number, near, read_coco, sound_box
from ..verdict import Account
from .target import KINDS, Target, damage_some
from .worlds import CLASSES, OBJECTS, SIZE, write_image

_ODD_TEXTS = (
    "",
    "nan",
    "1e400",
    "-5",
    "0",
    "12.5",
    "1000000",
    "abc",
    " 7 ",
    "ünï",
    "../../x.png",
    "C:\\a\\b.png",
)


def damage_xml(path: Path, rng) -> str:
    """Change one element of an XML file."""
    tree = ElementTree.parse(path)
    parents = [(parent, child) for parent in tree.iter() for child in parent]
    parent, child = rng.choice(parents)
    kind = rng.choice(["text", "text", "text", "removed", "doubled", "renamed", "nested"])
    if kind == "text":
        child.text = rng.choice(_ODD_TEXTS)
    elif kind == "removed":
        parent.remove(child)
    elif kind == "doubled":
        parent.append(child)
    elif kind == "renamed":
        child.tag = rng.choice([child.tag.upper(), child.tag + "s", "polygon"])
    else:
        parent.remove(child)
        ElementTree.SubElement(parent, "part").append(child)
    tree.write(path, encoding=rng.choice(["utf-8", "utf-8", "utf-16", "latin-1"]), xml_declaration=True)
    return f"{path.name}: <{child.tag}> {kind} {child.text!r}"


KINDS["xml"] = (damage_xml, damage_xml, damage_xml, *KINDS["text"])


class VocToCoco(Target):
    """XML files, images and lists of names."""

    name, tool = "voc_to_coco", "dataset_converters/voc_to_coco.py"
    imports = (
        "detdiffusion.apis.conversion",
        "detdiffusion.datasets.formats.voc",
        "PIL.Image",
    )

    def prepare(self, base: Path) -> None:
        for k in range(1, 6):
            image = f"IMG_{k}{('.jpg', '.png')[k % 2]}"
            write_image(base / "JPEGImages" / image, k)
            root = ElementTree.Element("annotation")
            ElementTree.SubElement(root, "folder").text = "JPEGImages"
            ElementTree.SubElement(root, "filename").text = image
            size = ElementTree.SubElement(root, "size")
            for tag, value in zip(("width", "height", "depth"), (*SIZE, 3)):
                ElementTree.SubElement(size, tag).text = str(value)
            for category, x, y, w, h in OBJECTS:
                one = ElementTree.SubElement(root, "object")
                ElementTree.SubElement(one, "name").text = CLASSES[category]
                ElementTree.SubElement(one, "difficult").text = "0"
                box = ElementTree.SubElement(one, "bndbox")
                for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), (x, y, x + w, y + h)):
                    ElementTree.SubElement(box, tag).text = str(value)
            (base / "Annotations").mkdir(parents=True, exist_ok=True)
            ElementTree.ElementTree(root).write(base / "Annotations" / f"IMG_{k}.xml")
        lists = base / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("IMG_1\nIMG_2\nIMG_3\n")
        (lists / "val.txt").write_text("IMG_4\nIMG_5\n")

    def damage(self, case: Case) -> None:
        damage_some(
            case,
            {"xml": ["Annotations/*.xml"] * 3, "image": ["JPEGImages/*"] * 2, "lines": ["ImageSets/Main/*"]},
        )

    def arguments(self, case: Case) -> list[str]:
        return [str(case.source), "--out", str(case.out)]

    def judge(self, case: Case, run: Run) -> Account:
        account, written = Account(), converted(case.out)
        xmls = find_files(case.source / "Annotations", ".xml")
        held = 0
        for path in xmls:
            objects, image_stem = read_objects(path)
            held += len(objects)
            images = [image for name, image in written.items() if Path(name).stem in (path.stem, image_stem)]
            if images:
                compare_objects(account, path.name, objects, images)
            else:
                account.lose(path.name, path.name, path.stem)
        lose_images(account, case.source / "JPEGImages", written, xmls)
        nothing_left(account, written, held)
        return account


def read_objects(path: Path) -> tuple[list[tuple[str, tuple | None]], str]:
    """Return (class, corners or None) of each object of an XML file, and the stem of its image."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, SyntaxError, ValueError, LookupError):
        return [], path.stem
    stem = Path((root.findtext("filename") or path.stem).strip().replace("\\", "/")).stem
    return [
        ((one.findtext("name") or "").strip(), _corners(one.find("bndbox"))) for one in root.iter("object")
    ], stem


def _corners(node) -> tuple | None:
    try:
        box = tuple(float(node.findtext(tag)) for tag in ("xmin", "ymin", "xmax", "ymax"))
    except (AttributeError, TypeError, ValueError):
        return None
    return box if all(map(is_number, box)) else None


@dataclass
class Converted:
    """An image written by a converter: its size in pixels, and (class, corners) of its objects."""

    size: tuple[int, int]
    objects: list[tuple[str, tuple]]


def converted(out: Path) -> dict[str, Converted]:
    """Return the images of all splits that a converter wrote, by file name; duplicates count once."""
    images: dict[str, Converted] = {}
    for path in sorted((out / "annotations").glob("*.json")):
        coco = read_coco(path)
        for image_id, image in coco.images.items():
            objects = [(coco.names[one["category_id"]], box) for one, box in coco.objects_of(image_id)]
            images[image["file_name"]] = Converted((image["width"], image["height"]), objects)
    return images


def compare_objects(account: Account, where: str, held: Iterable, images: Sequence[Converted]) -> None:
    """Check the output for one label file: no additional objects, and each missing one is reported.

    Args:
        held: (class, corners in pixels or None) of the file.
        images: images that the file belongs to.
    """
    left = [one for image in images for one in image.objects]
    width, height = images[0].size
    for name, box in held:
        inside = box and sound_box([box[0], box[1], box[2] - box[0], box[3] - box[1]], width, height)
        match = next((k for k, (n, b) in enumerate(left) if inside and n == name and near(b, inside)), None)
        if match is None:
            account.lose(f"an object of {where}", where)
        else:
            left.pop(match)
    if left:
        account.wrong.append(f"{where}: {left[0]} is not in it")


def lose_images(account: Account, folder: Path, written: Iterable[str], labels: Iterable[Path]) -> None:
    """Account for the images of a folder that are neither written nor named by a label file."""
    stems = {Path(name).stem for name in written} | {path.stem for path in labels}
    for path in find_files(folder, *IMAGE_SUFFIXES):
        if path.stem not in stems:
            account.lose(f"image {path.name}", path.name, path.stem)


def nothing_left(account: Account, written: dict, held: int) -> None:
    """Report a loss if the exit status is 0 without any objects, although the input has some."""
    if held and not any(image.objects for image in written.values()):
        account.wrong.append(f"exit status 0 with 0 objects, the input has {held}")
