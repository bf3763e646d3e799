"""``tools/dataset_converters/voc_to_coco.py``."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from pathlib import Path

from ..case import Case, Run
from ..reading import IMAGE_SUFFIXES, corners, find_files, near, read_coco
from ..verdict import Account
from .target import KINDS, Target, damage_some
from .worlds import CLASSES, OBJECTS, SIZE, write_image

_ODD_TEXTS = ("", "nan", "1e400", "-5", "0", "12.5", "1000000", "abc", " 7 ", "ünï", "../../x.png", "C:\\a\\b.png")


def damage_xml(path: Path, rng) -> str:
    """Changes one element of an XML file."""
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
    imports = ("detdiffusion.apis.conversion", "detdiffusion.datasets.formats.voc", "PIL.Image", "tqdm")

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
        damage_some(case, {"xml": ["Annotations/*.xml"] * 3, "image": ["JPEGImages/*"] * 2, "lines": ["ImageSets/Main/*"]})

    def arguments(self, case: Case) -> list[str]:
        return [str(case.source), "--out", str(case.out)]

    def judge(self, case: Case, run: Run) -> Account:
        account, written = Account(), converted(case.out)
        trees = {path: read_objects(path) for path in find_files(case.source / "Annotations", ".xml")}
        for path, objects in trees.items():
            images = [name for name in written if Path(name).stem in (path.stem, objects.stem)]
            if not images:
                account.lose(f"{path.name}", path.name, path.stem)
                continue
            came = [box for name in images for box in written[name]]
            compare_objects(account, path.name, objects.boxes, came, run.output)
        readable = find_files(case.source / "JPEGImages", *IMAGE_SUFFIXES)
        for path in readable:
            if not any(Path(name).stem == path.stem for name in written):
                account.lose(f"image {path.name}", path.name, path.stem)
        nothing_left(account, written, sum(len(one.boxes) for one in trees.values()))
        return account


class read_objects:  # noqa: N801  a reader that keeps what it read
    """Objects of one XML file: ``boxes`` as (class, corners or None), and the image's ``stem``."""

    def __init__(self, path: Path) -> None:
        self.boxes, self.stem = [], path.stem
        try:
            root = ElementTree.parse(path).getroot()
        except (OSError, SyntaxError, ValueError, LookupError):
            return
        self.stem = Path((root.findtext("filename") or path.stem).strip().replace("\\", "/")).stem
        for one in root.iter("object"):
            self.boxes.append(((one.findtext("name") or "").strip(), _corners(one.find("bndbox"))))


def _corners(node) -> tuple | None:
    try:
        x1, y1, x2, y2 = (float(node.findtext(tag)) for tag in ("xmin", "ymin", "xmax", "ymax"))
    except (AttributeError, TypeError, ValueError):
        return None
    box = max(x1, 0), max(y1, 0), min(x2, SIZE[0]), min(y2, SIZE[1])
    return box if box[0] < box[2] and box[1] < box[3] else None


def converted(out: Path) -> dict[str, list[tuple[str, tuple]]]:
    """File name -> (class, corners) of all splits that a converter wrote; an image counts once."""
    images: dict[str, dict] = {}
    for path in sorted((out / "annotations").glob("*.json")):
        coco = read_coco(path)
        for image_id, image in coco.images.items():
            objects = images.setdefault(image["file_name"], {})
            objects.update({one["id"]: (coco.names[one["category_id"]], box) for one, box in coco.objects_of(image_id)})
    return {name: list(objects.values()) for name, objects in images.items()}


def compare_objects(account: Account, where: str, held: Iterable, came: list, output: str) -> None:
    """Objects of one label file beside those that came out: none invented, each missing one said.

    Args:
        held: (class, corners or None) in the file.
        came: (class, corners) of its image.
    """
    left = list(came)
    for name, box in held:
        match = next((k for k, (n, b) in enumerate(left) if box and n == name and near(b, box)), None)
        if match is None:
            account.lose(f"an object of {where}", where)
        else:
            left.pop(match)
    if left:
        account.wrong.append(f"{where}: {left[0]} is not in it")


def nothing_left(account: Account, written: dict, held: int) -> None:
    """Exit status 0 with no object at all, though the input has some, is a loss whatever was counted."""
    if held and not any(written.values()):
        account.wrong.append(f"exit status 0 with 0 objects, the input has {held}")
