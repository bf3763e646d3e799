"""Reading of sets written by ``tools/generate.py``, with all checks against the data set of their layouts."""

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
    """Generated images whose layouts belong to a data set.

    Attributes:
        file: the set's annotations, without images of other data sets.
        img_dir: folder of the images.
        layouts: ids of the source images, by image id.
        samples: sample indices within the layout, by image id.
        notes: lines that tell the user what was left out.
    """

    file: CocoFile
    img_dir: Path
    layouts: dict[int, int]
    samples: dict[int, int]
    notes: list[str] = field(default_factory=list)


def check_names(names: Iterable[str], option: str) -> None:
    """Check that no set is named 'real', the name of the row of the real images.

    Args:
        names: names of the compared sets.
        option: name of the option, for the message.

    Raises:
        UserError: a set is named 'real'.
    """
    if "real" in names:
        raise UserError(
            f"{option}: no set may be named 'real', which is the row of the real images; rename it"
        )


def read_generated_set(
    name: str, folder: Path, images: Sequence[dict], categories: Sequence[dict], source: str | Path
) -> GeneratedSet:
    """Read ``folder/annotations.json`` and check that its images can be scored.

    Args:
        name: name of the set, for messages.
        folder: folder of the set.
        images, categories: COCO dicts of the data set.
        source: the data set's annotation file, for messages.

    Raises:
        UserError: the file does not exist or has no images; categories differ; layouts were edited; a layout or
            sample is not an integer; a sample occurs twice; no layout belongs to the data set; or image files are
            missing.
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
                f"{path}: category {category['id']} is {category['name']!r}, but in {source} it is "
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
                "positions and cannot be the bound; score a set that was generated without --edit and --layouts"
            )
        for key in ("source_image_id", "sample_index"):
            if type(image.get(key, 0)) is not int:
                raise UserError(
                    f"{path}: image {image['id']}: {key} must be a whole number, got {str(image[key])[:60]!r}; "
                    "correct the file or generate the set again"
                )
        layout = image.get("source_image_id")
        if layout not in known:
            continue
        sample = _describe_sample(image, layout)
        if sample in seen:
            raise UserError(
                f"{path}: images {seen[sample]} and {image['id']} are both {sample}: a sample must occur once; "
                "remove the duplicate entry"
            )
        if sample is not None:
            seen[sample] = image["id"]
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
            f"{missing[0]}; run tools/generate.py with the same arguments to generate them again"
        )
    for annotation in file.annotations:
        if type(annotation.get("source_annotation_id", 0)) is not int:
            raise UserError(
                f"{path}: annotation {annotation['id']}: source_annotation_id must be a whole number, got "
                f"{str(annotation['source_annotation_id'])[:60]!r}; correct the file or generate the set again"
            )
    notes = [f"{name}: {file.summary()}"] if file.findings else []
    starts = sorted({str(image["from_real"]) for image in kept if image.get("from_real")})
    if starts:
        notes.append(f"{name}: starts from the real images ({', '.join(starts)})")
    if left := len(file.images) - len(kept):
        notes.append(f"{name}: {left} images of other data sets were left out")
    file.images = kept
    file.annotations = [a for a in file.annotations if a["image_id"] in layouts]
    return GeneratedSet(file, img_dir, layouts, samples, notes)


def _describe_sample(image: dict, layout: int) -> str | None:
    """Return layout, strategy, seed and sample, which must be unique in a set; None if the image does not have them."""
    sample = [f"{key} {image[key]}" for key in ("strategy", "seed", "sample_index") if key in image]
    return ", ".join([f"layout {layout}", *sample]) if sample else None
