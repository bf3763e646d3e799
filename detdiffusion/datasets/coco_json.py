"""Reading and validating COCO jsons; every part of the library reads them through this module.

Two kinds of problems are distinguished. A *structural* error (a missing file, broken json, a missing key, a duplicate
id, an annotation that refers to an unknown image or category, boxes in the wrong unit) makes the meaning of the file
doubtful and raises :class:`~detdiffusion.utils.errors.UserError`. A *defect of one object* (a box of zero size, not
finite or outside its image, an invalid segmentation, a missing area) affects only that object: it is skipped or
corrected, and counted. Code that needs masks treats invalid segmentations as errors. All problems are recorded as
:class:`~detdiffusion.utils.findings.Finding`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.findings import Finding

from .boxes import SKIPPED
from .coco_objects import clean_annotations
from .coco_tables import check_categories, check_images, check_regions, file_key
from .finding_log import FindingLog
from .json_files import load_json, load_with_spans
from .segmentation_check import SegmentationCheck

_LIGHT_KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore")


@dataclass
class CocoFile:
    """One COCO json after validation.

    Attributes:
        path: the file.
        images: image dicts; ``id`` int, ``file_name`` str, ``width`` and ``height`` int > 0.
        annotations: the usable annotation dicts; ``bbox`` is ``[x, y, w, h]`` in float pixels inside the image with
            w, h > 0, ``area`` a float above 0 (replaced by the mask's, or by w * h, if the file's value is
            implausible), ``iscrowd`` 0 or 1, ``segmentation`` valid or absent, other fields as read.
        categories: category dicts; ``id`` int, ``name`` str.
        findings: what was skipped or corrected, and notes.
        mask_errors: errors for code that needs masks; among the findings they are warnings.
        info: the file's ``info`` entry.
        masks: number of annotations in the file with a usable segmentation.
    """

    path: Path
    images: list[dict]
    annotations: list[dict]
    categories: list[dict]
    findings: list[Finding] = field(default_factory=list)
    mask_errors: list[Finding] = field(default_factory=list)
    info: dict = field(default_factory=dict)
    masks: int = 0

    @property
    def report(self) -> dict[str, int]:
        """Problem -> number of annotations that were skipped or changed because of it."""
        return {f.problem: f.count for f in self.findings if f.severity == "warning"}

    @property
    def skipped(self) -> dict[str, int]:
        """Problem -> number of annotations that were skipped because of it."""
        return {f.problem: f.count for f in self.findings if f.remedy == SKIPPED}

    def as_json(self) -> dict:
        """Return the usable contents as a COCO dict."""
        content = dict(images=self.images, annotations=self.annotations, categories=self.categories)
        return dict(info=self.info, licenses=[], **content)

    def summary(self) -> str:
        """Return a line that describes the contents, and one line per finding."""
        crowds = sum(a["iscrowd"] for a in self.annotations)
        first = (
            f"{self.path}: {len(self.images)} images, {len(self.annotations)} annotations ({crowds} crowds), "
            f"{len(self.categories)} categories"
        )
        return "\n".join([first, *finding_lines(self.findings)])


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Format findings, one line each, to print them under the name of a file."""
    return [f"  {f.count} × {f.problem}: {f.remedy} ({f.item})" for f in findings]


def read_coco(
    path: str | Path,
    *,
    require_annotations: bool = True,
    spans: bool = False,
    prepare: Callable[[dict], None] | None = None,
) -> CocoFile:
    """Read and validate a COCO json (instances, stuff, or both in one file).

    Args:
        path: the json file.
        require_annotations: False accepts a file without the key ``annotations`` (such as ``image_info_*.json``).
        spans: return annotations without ``segmentation`` and other extra fields, and without ``area`` if it would have
            to be computed from the mask, but with ``span``, the (start, end) of their text in the file's bytes. This
            halves the time and needs a tenth of the memory; the checks are the same.
        prepare: changes the parsed images and categories in place before they are checked, for exports that deviate
            from COCO.

    Returns:
        The cleaned file; print its :meth:`~CocoFile.summary`.

    Raises:
        UserError: on structural errors; gives the file, the entries, the first value and what to do.
    """
    path = Path(path)
    segmentations = SegmentationCheck()

    def lighten(entry: dict) -> dict:
        segmentations(entry)
        return {key: entry[key] for key in _LIGHT_KEYS if key in entry}

    data = load_with_spans(path, lighten) if spans else load_json(path)
    _check_top_level(path, data, require_annotations)
    if prepare is not None:
        prepare(data)
    log = FindingLog(path)
    categories, sizes = check_categories(data["categories"], log), check_images(data["images"], log)
    log.raise_errors()
    check_regions(data["images"], log)
    annotations = data.get("annotations", [])
    annotations = clean_annotations(annotations, sizes, categories, log, segmentations, in_memory=not spans)
    info = data.get("info")
    return CocoFile(
        path,
        data["images"],
        annotations,
        data["categories"],
        log.findings,
        segmentations.errors,
        info if isinstance(info, dict) else {},
        sum(segmentations.usable),
    )


def _check_top_level(path: Path, data: Any, require_annotations: bool) -> None:
    if not isinstance(data, dict):
        raise UserError(
            f"{path}: the top level is a {type(data).__name__}, but a COCO json is an object with "
            "'images', 'annotations' and 'categories'" + _looks_like_results(data)
        )
    wanted = ["images", "categories"] + (["annotations"] if require_annotations else [])
    missing = [key for key in wanted if key not in data]
    if missing:
        raise UserError(
            f"{path}: lacks the key(s) {_quoted(missing)} of a COCO json; its keys are {_quoted(data) or 'none'}"
        )
    for key in (*wanted, "annotations"):
        if not isinstance(data.get(key, []), list) or not all(isinstance(e, dict) for e in data.get(key, [])):
            raise UserError(f"{path}: '{key}' must be a list of objects")


def merge_checked(files: Sequence[CocoFile]) -> tuple[dict[int, dict], dict[int, dict], list[dict]]:
    """Merge several files of one data set (e.g. instances and stuff).

    Returns:
        ``(images by id, categories by id, all annotations)``.

    Raises:
        UserError: if an annotation id occurs in two files, two files disagree about an image or a category, or they
            have the same category name or image file under different ids.
    """
    images: dict[int, dict] = {}
    categories: dict[int, dict] = {}
    id_of: dict[str, int] = {}
    owner: dict[int, Path] = {}
    id_of_file: dict[str, int] = {}
    for coco in files:
        for image in coco.images:
            known = images.setdefault(image["id"], image)
            for key in ("width", "height", "file_name"):
                same = file_key if key == "file_name" else int
                if same(known[key]) != same(image[key]):
                    raise UserError(
                        f"{coco.path}: image id {image['id']} has {key} {image[key]!r}, but {known[key]!r} "
                        "in an earlier annotation file; the files belong to different data sets"
                    )
            first = id_of_file.setdefault(file_key(image["file_name"]), image["id"])
            if first != image["id"]:
                raise UserError(
                    f"{coco.path}: image id {image['id']} has the file name {image['file_name']!r}, which image id "
                    f"{first} has in an earlier annotation file; give the same file the same id in both"
                )
        for category in coco.categories:
            known = categories.setdefault(category["id"], category)
            if known["name"] != category["name"]:
                raise UserError(
                    f"{coco.path}: category id {category['id']} is {category['name']!r}, but "
                    f"{known['name']!r} in an earlier annotation file; renumber one of them"
                )
            other = id_of.setdefault(category["name"], category["id"])
            if other != category["id"]:
                raise UserError(
                    f"{coco.path}: category {category['name']!r} has id {category['id']}, but id {other} in an "
                    "earlier annotation file; merge or rename one of them"
                )
        for annotation in coco.annotations:
            if annotation["id"] in owner:
                raise UserError(
                    f"{coco.path}: annotation id {annotation['id']} occurs in {owner[annotation['id']]} too; "
                    "ids must be unique across all annotation files: renumber the annotations of one of them"
                )
            owner[annotation["id"]] = coco.path
    return images, categories, [a for coco in files for a in coco.annotations]


def _looks_like_results(data: Any) -> str:
    if isinstance(data, list) and data and isinstance(data[0], dict) and "score" in data[0]:
        return "; this looks like a detector's results file: pass it as `predictions`"
    return ""


def _quoted(names) -> str:
    return ", ".join(f"'{n}'" for n in names)
