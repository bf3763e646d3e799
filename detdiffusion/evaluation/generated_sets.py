"""Sets that ``tools/generate.py`` wrote, beside the data set that they were drawn from: every check in one place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detdiffusion.datasets.coco_json import CocoFile, read_coco
from detdiffusion.utils.errors import UserError

ANNOTATIONS = "annotations.json"


@dataclass
class GeneratedSet:
    """Images of a generator that belong to a data set.

    Attributes:
        file: its annotations; images of other data sets are left out, with their annotations.
        img_dir: folder of the images.
        layouts: image id -> id of the source image.
        samples: image id -> its number among the layout's images.
        notes: lines for the user about what was left out.
    """

    file: CocoFile
    img_dir: Path
    layouts: dict[int, int]
    samples: dict[int, int]
    notes: list[str] = field(default_factory=list)


def check_names(names: Iterable[str], option: str) -> None:
    """Refuses what the row of the real images is called.

    Args:
        names: of the compared sets.
        option: that gives them, for the message.
    """
    if "real" in names:
        raise UserError(
            f"{option}: no set may be named 'real', which is the row of the real images; rename it"
        )


def read_generated_set(
    name: str, folder: Path, images: Sequence[dict], categories: Sequence[dict], source: str | Path
) -> GeneratedSet:
    """Reads ``folder/annotations.json`` and checks that its images can be scored.

    Args:
        name: of the set, for messages.
        folder: of the set.
        images, categories: of the data set; COCO dicts.
        source: the data set's annotation file, for messages.

    Raises:
        UserError: no such file, no images, other categories, edited layouts, a layout or sample that is no whole
            number, an image that counts twice, no image of the data set, or image files that are missing.
    """
    path = folder / ANNOTATIONS
    if not path.is_file():
        raise UserError(
            f"synthetic set {name!r}: {path} is missing; tools/generate.py --out {folder} writes it"
        )
    file = read_coco(path)
    if not file.images:
        raise UserError(f"synthetic set {name!r}: {path} has no images")
    names = {category["id"]: category["name"] for category in categories}
    for category in file.categories:
        if names.get(category["id"], category["name"]) != category["name"]:
            raise UserError(
                f"{path}: category {category['id']} is {category['name']!r}, in {source} it is "
                f"{names[category['id']]!r}"
            )
    known = {image["id"] for image in images}
    kept, layouts, samples = [], {}, {}
    count: Counter = Counter()
    seen: dict[str, int] = {}
    for image in file.images:
        if image.get("edits"):
            raise UserError(
                f"{path}: its layouts were edited ({image['edits']}), so the real images show other objects at other "
                "places and are no bound; score a set that was generated without --edit"
            )
        for key in ("source_image_id", "sample_index"):
            if type(image.get(key, 0)) is not int:
                raise UserError(
                    f"{path}: image {image['id']}: {key} must be a whole number, it is {str(image[key])[:60]!r}; "
                    "correct the file or generate the set again"
                )
        layout = image.get("source_image_id")
        if layout not in known:
            continue
        fact = _sample_fact(image, layout)
        if fact in seen:
            raise UserError(
                f"{path}: images {seen[fact]} and {image['id']} are both {fact}: an image must count once; "
                "remove the doubled entry"
            )
        if fact is not None:
            seen[fact] = image["id"]
        kept.append(image)
        layouts[image["id"]] = layout
        samples[image["id"]] = image.get("sample_index", count[layout])
        count[layout] += 1
    if not kept:
        first = file.images[0]
        raise UserError(
            f"{path}: none of its {len(file.images)} images has a source_image_id of {source} (image {first['id']} has "
            f"{first.get('source_image_id')!r}); the set was generated from another data set"
        )
    img_dir = folder / "images"
    missing = [image["file_name"] for image in kept if not (img_dir / image["file_name"]).is_file()]
    if missing:
        raise UserError(
            f"{name}: {len(missing)} of {len(kept)} images of {path} are missing in {img_dir}, the first "
            f"{missing[0]}; tools/generate.py with the same arguments makes them again"
        )
    for annotation in file.annotations:
        if type(annotation.get("source_annotation_id", 0)) is not int:
            raise UserError(
                f"{path}: annotation {annotation['id']}: source_annotation_id must be a whole number, it is "
                f"{str(annotation['source_annotation_id'])[:60]!r}; correct the file or generate the set again"
            )
    notes = [f"{name}: {file.summary()}"] if file.findings else []
    if left := len(file.images) - len(kept):
        notes.append(f"{name}: {left} images of other data sets were left out")
    file.images = kept
    file.annotations = [a for a in file.annotations if a["image_id"] in layouts]
    return GeneratedSet(file, img_dir, layouts, samples, notes)


def _sample_fact(image: dict, layout: int) -> str | None:
    """What no second image of a set may have: its layout, strategy, seed and sample, where it says them."""
    sample = [f"{key} {image[key]}" for key in ("strategy", "seed", "sample_index") if key in image]
    return ", ".join([f"layout {layout}", *sample]) if sample else None
