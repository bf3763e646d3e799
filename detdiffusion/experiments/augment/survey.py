"""Facts about the labels of a run's splits, and the mistakes that make a run pointless."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detdiffusion.datasets.class_names import similar
from detdiffusion.datasets.coco_json import CocoFile, read_coco
from detdiffusion.experiments.common_steps import Split
from detdiffusion.utils.errors import UserError, some

MIN_IMAGES = 4
"""Images of `train` with objects: two to train on in each half."""
LOOKED_AT = 128
"""Images that are opened to tell whether the set has an upper side."""


@dataclass(frozen=True)
class Facts:
    """What a run is derived from.

    Attributes:
        classes: names of the classes, in the order of the training json.
        unused: categories without objects in `train`.
        images: number of images by split.
        width, height: typical size of the training images: the median aspect ratio and the median area.
        objects: for each training image, (share of the image, class name) of its objects.
        brightness, centres: see :func:`.derive.has_upper_side`.
        masks: whether training objects have masks, all of them readable.
    """

    classes: tuple[str, ...]
    unused: tuple[str, ...]
    images: Mapping[str, int]
    width: float
    height: float
    objects: Sequence[Sequence[tuple[float, str]]]
    brightness: Sequence[float]
    centres: Sequence[float]
    masks: bool

    def above(self, share: float) -> list[list[str]]:
        """Return the class names of the objects above a share of the image, for each training image with any."""
        kept = [[name for area, name in row if area > share] for row in self.objects]
        return [row for row in kept if row]


def check_labels(
    splits: Mapping[str, Split],
    wanted: Sequence[str] | None = None,
    names: Mapping[str, str | Path] | None = None,
) -> tuple[dict[str, CocoFile], tuple[str, ...], tuple[str, ...]]:
    """Read the annotations of splits and check that a run can use them.

    Args:
        splits: ``train``, and ``val`` and ``test`` if there are any.
        wanted: classes to use; None uses all that have objects in ``train``.
        names: files and folders of the splits as the user gave them, for messages; default: the annotation files.

    Returns:
        The files by split, the names of the classes, and those of the unused ones.

    Raises:
        UserError: a file is missing or broken; a split has no objects of the classes; a class is unknown or differs
            between splits; images are missing; or there are too few.
    """
    files = {name: read_coco(split.annotations[0]) for name, split in splits.items()}
    for name, file in files.items():
        file.path = Path((names or {}).get(name, file.path))
    classes, unused = _classes(files, wanted)
    for name, file in files.items():
        _check_split(name, file, splits[name].images, classes)
    train, chosen = files["train"], set(classes)
    names = {category["id"]: category["name"] for category in train.categories}
    labelled = {a["image_id"] for a in train.annotations if names[a["category_id"]] in chosen}
    if len(labelled) < MIN_IMAGES:
        raise UserError(
            f"`train` {train.path}: {len(labelled)} of its {len(train.images)} images have objects; at least "
            f"{MIN_IMAGES} are needed, better a few hundred"
        )
    return files, classes, unused


def survey(
    splits: Mapping[str, Split],
    wanted: Sequence[str] | None = None,
    names: Mapping[str, str | Path] | None = None,
) -> Facts:
    """Return the facts about all splits; the arguments and errors are those of :func:`check_labels`."""
    files, classes, unused = check_labels(splits, wanted, names)
    train = files["train"]
    objects, centres = _objects(train, set(classes))
    area = float(np.median([image["width"] * image["height"] for image in train.images]))
    ratio = float(np.median([image["width"] / image["height"] for image in train.images]))
    return Facts(
        classes,
        unused,
        {name: len(file.images) for name, file in files.items()},
        (area * ratio) ** 0.5,
        (area / ratio) ** 0.5,
        objects,
        _brightness(train, splits["train"].images),
        centres,
        train.masks > 0 and not train.mask_errors,
    )


def _classes(
    files: Mapping[str, CocoFile], wanted: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the classes to use and the unused ones."""
    counts = {name: _counts(file) for name, file in files.items()}
    train = files["train"]
    names = [category["name"] for category in train.categories]
    for name in wanted or ():
        if not counts["train"].get(name):
            known = [n for n in names if counts["train"][n]]
            raise UserError(f"`classes`: {train.path} has no object of {name!r}; {similar(name, known)}")
    classes = [name for name in names if counts["train"][name] and (wanted is None or name in wanted)]
    for split, found in counts.items():
        path = files[split].path
        strange = [name for name, count in found.items() if count and name not in names]
        if strange:
            raise UserError(
                f"`{split}` {path} has objects of {some(map(repr, strange), 5)}, which `train` {train.path} does not "
                f"know; {similar(strange[0], names)}. Use the same names in all splits"
            )
        order = [category["name"] for category in files[split].categories if category["name"] in classes]
        if order != classes:
            lacking = [name for name in classes if name not in order]
            what = (
                f"lacks the categories {some(lacking, 5)} of"
                if lacking
                else "has the categories in another order than"
            )
            raise UserError(f"`{split}` {path} {what} `train` {train.path}; write the same list into both")
    return tuple(classes), tuple(name for name in names if name not in classes)


def _counts(file: CocoFile) -> Counter:
    names = {category["id"]: category["name"] for category in file.categories}
    return Counter(names[a["category_id"]] for a in file.annotations if not a["iscrowd"])


def _check_split(name: str, file: CocoFile, images: Path, classes: Sequence[str]) -> None:
    counts = _counts(file)
    if not any(counts[label] for label in classes):
        raise UserError(
            f"`{name}` {file.path}: no labels: its {len(file.images)} images have no object of {some(classes, 5)}"
        )
    there = {entry.name for entry in os.scandir(images)} if images.is_dir() else set()
    missing = [
        image["file_name"]
        for image in file.images
        if image["file_name"] not in there and not (images / image["file_name"]).is_file()
    ]
    if missing:
        raise UserError(
            f"`{name}` {file.path}: {len(missing)} of its {len(file.images)} images are not in {images}: "
            f"{some(missing)}; name their folder by `img_dir`"
        )


def _objects(file: CocoFile, classes: set[str]) -> tuple[list[list[tuple[float, str]]], list[float]]:
    names = {category["id"]: category["name"] for category in file.categories}
    sizes = {image["id"]: (image["width"], image["height"]) for image in file.images}
    objects: dict[int, list[tuple[float, str]]] = {key: [] for key in sizes}
    heights: dict[int, list[float]] = {key: [] for key in sizes}
    for annotation in file.annotations:
        name, key = names[annotation["category_id"]], annotation["image_id"]
        if name in classes and not annotation["iscrowd"]:
            (width, height), (_, y, w, h) = sizes[key], annotation["bbox"]
            objects[key].append((w * h / (width * height), name))
            heights[key].append((y + h / 2) / height - 0.5)
    return list(objects.values()), [float(np.mean(row)) for row in heights.values() if row]


def _brightness(file: CocoFile, folder: Path) -> list[float]:
    """Return upper minus lower half of evenly spread images, in grey levels."""
    from detdiffusion.datasets.image_reading import read_rgb

    step = max(1, len(file.images) // LOOKED_AT)
    found = []
    for image in file.images[::step][:LOOKED_AT]:
        grey = np.asarray(read_rgb(folder / image["file_name"], image).convert("L").resize((16, 16)), float)
        found.append(float(grey[:8].mean() - grey[8:].mean()))
    return found
