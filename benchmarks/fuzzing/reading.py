"""Read damaged inputs in plain Python, independently of the library's readers.

Reads as much as any reader may accept: a tool that accepts less must count the difference, or refuse the file.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def read_text(path: Path) -> str:
    """Return UTF-8 or UTF-16 text, without a byte order mark.

    Raises:
        OSError, UnicodeDecodeError: the file does not exist, or is not text.
    """
    data = path.read_bytes()
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def read_json(path: Path):
    """Return the value of a json file, or None if it has none."""
    try:
        return json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return None


@dataclass
class Coco:
    """Images, annotations and categories of a COCO json.

    Attributes:
        images: dicts of the images that have an id, by id.
        entries: all annotations, valid or not.
        boxes: (x1, y1, x2, y2) inside the image by position in ``entries``, of valid annotations.
        names: category names by id.
    """

    images: dict = field(default_factory=dict)
    entries: list = field(default_factory=list)
    boxes: dict[int, tuple] = field(default_factory=dict)
    names: dict = field(default_factory=dict)
    image_entries: int = 0

    def objects_of(self, image_id) -> list[tuple[dict, tuple]]:
        """Return (annotation, box) of an image's valid objects, including crowds."""
        return [
            (self.entries[k], box) for k, box in self.boxes.items() if self.entries[k]["image_id"] == image_id
        ]


def read_coco(*paths: Path) -> Coco:
    """Read one or more COCO jsons of one set."""
    coco = Coco()
    for path in paths:
        data = read_json(path)
        data = data if isinstance(data, dict) else {}
        lists = {
            key: data.get(key) if isinstance(data.get(key), list) else []
            for key in ("images", "annotations", "categories")
        }
        for image in lists["images"]:
            known = isinstance(image, dict) and _is_id(image.get("id")) and image["id"] in coco.images
            coco.image_entries += not known
            if isinstance(image, dict) and _is_id(image.get("id")):
                coco.images[image["id"]] = image
        for one in lists["categories"]:
            if isinstance(one, dict) and _is_id(one.get("id")):
                coco.names[one["id"]] = one.get("name")
        coco.entries += lists["annotations"]
    for k, one in enumerate(coco.entries):
        if isinstance(one, dict) and _is_id(one.get("image_id")) and _is_id(one.get("category_id")):
            image = coco.images.get(one["image_id"])
            if image is not None and one["category_id"] in coco.names:
                box = sound_box(one.get("bbox"), image.get("width"), image.get("height"))
                if box is not None:
                    coco.boxes[k] = box
    return coco


def sound_box(bbox, width, height) -> tuple[float, float, float, float] | None:
    """Return a box x, y, w, h as corners inside its image, or None if it is invalid or outside."""
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(map(is_number, [*bbox, width, height])):
        return None
    x, y, w, h = bbox
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    return (x1, y1, x2, y2) if w > 0 and h > 0 and x1 < x2 and y1 < y2 else None


def is_number(value) -> bool:
    """Return whether a json value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def _is_id(value) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def iou(a, b) -> float:
    """Return the intersection over union of two boxes (corners)."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    both = w * h
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def near(a, b, tolerance: float = 0.6) -> bool:
    """Return whether two boxes are equal up to rounding."""
    return all(abs(p - q) <= tolerance for p, q in zip(a, b))


def corners(bbox) -> tuple[float, float, float, float]:
    """Convert x, y, w, h to corners."""
    x, y, w, h = bbox
    return x, y, x + w, y + h


def picture(path: Path):
    """Return ((width, height), rotated by EXIF) of an image if all its pixels can be read, else None."""
    from PIL import Image, ImageFile

    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(0x0112, 1) not in (0, 1)
            image.load()
            return image.size, turned
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def find_files(folder: Path, *suffixes: str) -> list[Path]:
    """Find files below a folder with one of these suffixes, ignoring case."""
    return sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in suffixes and (p.is_file() or p.is_symlink())
    )


def equation_2(box, category, detections, nameable, gamma=0.3, beta=0.5) -> str | None:
    """Return an object's attribute by the paper's Equation 2, or None if it depends on rounding.

    Args:
        box: corners of the object.
        category: its id.
        detections: (corners, score) of its image.
        nameable: category ids that the detector knows.
    """
    if category not in nameable:
        return "background"
    best = max((iou(box, one) for one, score in detections if score > gamma), default=0.0)
    if abs(best - beta) < 1e-6:
        return None
    return "easy" if best > beta else "hard"


def average_precision(coco: Coco, image_ids, found, names=None) -> float | None:
    """Return COCO's bbox AP by pycocotools, with renumbered ids and areas from boxes; None without objects.

    Args:
        coco: the ground truth; ``iscrowd`` objects are ignored regions, ``ignore`` does not affect COCO's evaluation.
        image_ids: images that count.
        found: (image id, class name, corners, score).
        names: class names that count; None: all.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    numbers = {image_id: k for k, image_id in enumerate(image_ids, 1)}
    classes = {
        name: k
        for k, name in enumerate(sorted(set(coco.names.values()) & set(names or coco.names.values())), 1)
    }
    truth = []
    for image_id in numbers:
        for one, box in coco.objects_of(image_id):
            if coco.names[one["category_id"]] in classes:
                truth.append(
                    _row(len(truth) + 1, numbers[image_id], classes[coco.names[one["category_id"]]], box, one)
                )
    if not any(not row["iscrowd"] for row in truth):
        return None
    results = [
        dict(_row(k, numbers[i], classes[name], box, {}), score=score)
        for k, (i, name, box, score) in enumerate(found, 1)
        if name in classes and i in numbers
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth_index, found_index = COCO(), COCO()
        base = dict(
            images=[dict(id=k) for k in numbers.values()], categories=[dict(id=k) for k in classes.values()]
        )
        truth_index.dataset, found_index.dataset = (
            dict(base, annotations=truth),
            dict(base, annotations=results),
        )
        truth_index.createIndex(), found_index.createIndex()
        evaluator = COCOeval(truth_index, found_index, "bbox")
        evaluator.evaluate(), evaluator.accumulate(), evaluator.summarize()
    value = float(evaluator.stats[0])
    return None if math.isnan(value) or value < 0 else value


def _row(number, image, category, box, entry) -> dict:
    x1, y1, x2, y2 = box
    return dict(
        id=number,
        image_id=image,
        category_id=category,
        bbox=[x1, y1, x2 - x1, y2 - y1],
        area=(x2 - x1) * (y2 - y1),
        iscrowd=int(bool(entry.get("iscrowd"))),
    )
