"""Building a COCO data set from another format; every image is checked and everything left out is counted."""

from __future__ import annotations

import filecmp
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detdiffusion.datasets import image_reading
from detdiffusion.datasets.boxes import CLIPPED, clean_box
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.file_names import check_file_name
from detdiffusion.utils.files import write_atomic

from .input_files import IMAGES, InputFiles

UNREADABLE = "image that cannot be read: left out"
_EXAMPLES = 5


@dataclass
class Conversion:
    """Collects the images and objects of a conversion; ids count from 1 and are unique across all splits.

    Attributes:
        classes: class names; category id = position + 1.
        files: all input files, and how each was used.
        images, annotations: COCO dicts.
        sources: image id -> file.
        splits: split name -> image ids; an image may be in several (train, trainval).
        report: description of what was left out or changed -> count.
        examples: the same description -> the first few places.
        looked: where objects were searched for, used in the error message if there are none.
        masks: number of objects with a mask.
    """

    classes: list[str]
    files: InputFiles = field(default_factory=InputFiles)
    images: list[dict] = field(default_factory=list)
    annotations: list[dict] = field(default_factory=list)
    sources: dict[int, Path] = field(default_factory=dict)
    splits: dict[str, list[int]] = field(default_factory=dict)
    report: Counter = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    looked: str = ""
    masks: int = 0
    _details: dict[Path, str] = field(default_factory=dict)

    def put_classes_first(self, names: Sequence[str]) -> None:
        """Number the classes as another set does: its names first, also those without an object here, then the rest."""
        known, rest = self.classes, [name for name in self.classes if name not in names]
        self.classes = [*names, *rest]
        number = {old: self.classes.index(name) + 1 for old, name in enumerate(known, 1)}
        for annotation in self.annotations:
            annotation["category_id"] = number[annotation["category_id"]]

    def count(self, reason: str, where: object) -> None:
        """Count something that was left out or changed."""
        self.report[reason] += 1
        places = self.examples.setdefault(reason, [])
        if len(places) < _EXAMPLES:
            places.append(str(where))

    def leave_out(self, path: Path, reason: str, detail: str = "") -> None:
        """Leave out an input file; :meth:`close` counts it."""
        self.files.leave_out(path, reason)
        self._details.setdefault(self.files.first(path), detail)

    def close(self, reason_of: Callable[[Path], str | None]) -> None:
        """Finish the accounting: leave out all unused files, and count all files left out and all splits without
        objects.

        Args:
            reason_of: returns why a file was not used, or None to derive the reason from the type of file.
        """
        self.files.leave_out_rest(reason_of)
        for reason, paths in self.files.left_out().items():
            for path in paths:
                detail = self._details.get(path, "")
                self.count(reason, self.files.name(path) + (f": {detail}" if detail else ""))
        with_objects = {annotation["image_id"] for annotation in self.annotations}
        for split, ids in self.splits.items():
            if with_objects.isdisjoint(ids):
                self.count("split without any object", f"{split}, {len(ids)} images")

    def add_image(self, source: Path, file_name: str, size: tuple[int, int]) -> int:
        """Add an image of ``size`` (width, height) and return its id.

        Raises:
            UserError: if the file name points outside its folder.
        """
        check_file_name(file_name, str(source))
        image_id = len(self.images) + 1
        self.images.append(dict(id=image_id, file_name=file_name, width=size[0], height=size[1]))
        self.sources[image_id] = source
        self.files.use(source, IMAGES)
        return image_id

    def add_object(self, image_id: int, label: int, bbox: Sequence[float], where: str, **extra) -> None:
        """Add an object of class ``label`` with ``bbox`` x, y, width, height in pixels; counts it if the box is
        invalid or clipped."""
        image = self.images[image_id - 1]
        bbox = [round(float(value), 4) for value in bbox]
        clean, defect = clean_box(bbox, (image["width"], image["height"]))
        if defect is not None:
            numbers = ", ".join(f"{value:g}" for value in bbox)
            done = "clipped" if defect == CLIPPED else "left out"
            self.count(f"{defect}: {done}", f"{where}, {self.classes[label]} [{numbers}]")
        if clean is None:
            return
        clean = [round(value, 4) for value in clean]
        annotation = dict(
            id=len(self.annotations) + 1,
            image_id=image_id,
            category_id=label + 1,
            bbox=clean,
            area=round(clean[2] * clean[3], 4),
            iscrowd=0,
        )
        self.annotations.append({**annotation, **extra})
        self.masks += "segmentation" in extra

    def summary(self) -> str:
        """Return the numbers of images, objects and files, and a line for everything that was left out or changed."""
        per_class = Counter(a["category_id"] for a in self.annotations)
        names = ", ".join(f"{name} {per_class[k]}" for k, name in enumerate(self.classes, 1))
        lines = [f"{len(self.images)} images, {len(self.annotations)} objects: {names}", self.files.table()]
        for reason, count in self.report.items():
            more = "; …" if count > len(self.examples[reason]) else ""
            lines.append(f"  {count} × {reason} ({'; '.join(self.examples[reason])}{more})")
        return "\n".join(lines)

    def write(self, out: str | Path, placing: str = "link") -> dict[str, Path]:
        """Write ``OUT/annotations/<split>.json`` and place the images in ``OUT/images``.

        Args:
            out: output folder.
            placing: 'link' creates symbolic links, 'copy' copies, 'none' does not place the images.

        Returns:
            Split -> path of its json.

        Raises:
            UserError: if there are no images or no objects, or a file cannot be written.
        """
        out = Path(out)
        if not any(self.splits.values()):
            raise UserError(f"no images left to convert:\n{self.summary()}")
        if not self.annotations:
            raise UserError(f"no objects in {len(self.images)} images; {self.looked}\n{self.summary()}")
        if placing != "none":
            for image in self.images:
                place_file(self.sources[image["id"]], out / "images" / image["file_name"], placing == "copy")
        objects = by_image(self.annotations)
        categories = [dict(id=k, name=name) for k, name in enumerate(self.classes, 1)]
        written = {}
        for split, ids in self.splits.items():
            data = dict(
                images=[self.images[i - 1] for i in ids],
                annotations=[a for i in ids for a in objects.get(i, ())],
                categories=categories,
            )
            written[split] = out / "annotations" / f"{split}.json"
            write_atomic(written[split], json.dumps(data).encode())
        return written


def image_size(path: Path, decode: bool = True) -> tuple[int, int] | str:
    """Return width and height in pixels of a local image, or a string that says why it cannot be used.

    Args:
        path: the file.
        decode: decode the entire file, which detects all truncated files, instead of reading only the header.
    """
    try:
        return image_reading.image_size(path, decode)
    except image_reading.ImageError as error:
        return f"{error.reason}; {error.remedy}"


def place_file(source: Path, target: Path, copy: bool) -> None:
    """Copy or link a file; an existing file that is not a link is never replaced.

    Raises:
        UserError: if ``target`` is another file, or cannot be written.
    """
    if target.exists() and target.resolve() == source.resolve():
        return
    if target.exists() and not target.is_symlink():
        if target.is_file() and filecmp.cmp(source, target, shallow=False):
            return
        raise UserError(
            f"{target}: already exists and differs from {source}; choose another `out`, or remove it"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        if not copy:
            os.symlink(source.resolve(), target)
    except OSError as error:
        raise UserError(
            f"{target}: cannot create a link: {error.strerror or error}; use `images` copy or another `out`"
        ) from None
    if copy:
        write_atomic(target, source.read_bytes())


def by_image(annotations: Iterable[dict]) -> dict[int, list[dict]]:
    """Group annotations by the id of their image."""
    objects: dict[int, list[dict]] = {}
    for annotation in annotations:
        objects.setdefault(annotation["image_id"], []).append(annotation)
    return objects
