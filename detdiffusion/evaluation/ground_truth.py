"""COCO ground truths, and the parts of them that protocols score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.utils.errors import UserError


def load_ground_truth(ground_truth: str | Path | Mapping) -> dict:
    """A COCO ground truth with its three lists.

    Args:
        ground_truth: a path, or the dict of a file that was checked.

    Raises:
        UserError: see :func:`~detdiffusion.datasets.coco_json.read_coco`; a dict without ``images``, ``annotations`` or
            ``categories``.
    """
    if not isinstance(ground_truth, Mapping):
        file = read_coco(ground_truth)
        return dict(images=file.images, annotations=file.annotations, categories=file.categories)
    missing = [key for key in ("images", "annotations", "categories") if key not in ground_truth]
    if missing:
        raise UserError(f"the ground truth is not a COCO ground truth: it has no {', '.join(missing)}")
    return dict(ground_truth)


def select_ground_truth(
    ground_truth: Mapping,
    image_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
    annotation_ids: Iterable[int] | None = None,
    ignore_others: bool = False,
) -> dict:
    """The part of a ground truth that a protocol scores.

    Args:
        ground_truth: a COCO dict.
        image_ids: images to keep; None keeps all.
        category_ids: categories to keep; None keeps all.
        annotation_ids: annotations that count; None counts all.
        ignore_others: keep the other annotations as crowd regions, so that a detection on one of them is
            neither right nor wrong; False drops them, so that it is a false positive.

    Returns:
        A new COCO dict; the input is left as it is.

    Raises:
        UserError: an id is not in the ground truth.
    """
    images = {image["id"]: image for image in ground_truth["images"]}
    categories = {category["id"]: category for category in ground_truth["categories"]}
    images = pick(images, image_ids, "image")
    categories = pick(categories, category_ids, "category")
    wanted = None if annotation_ids is None else set(annotation_ids)
    if wanted is not None:
        absent = wanted - {annotation["id"] for annotation in ground_truth["annotations"]}
        if absent:
            raise UserError(f"annotation ids {sorted(absent)[:5]} are not in the ground truth")
    annotations = []
    for annotation in ground_truth["annotations"]:
        if annotation["image_id"] not in images or annotation["category_id"] not in categories:
            continue
        if wanted is None or annotation["id"] in wanted:
            annotations.append(dict(annotation))
        elif ignore_others:
            annotations.append({**annotation, "iscrowd": 1})
    return {
        **ground_truth,
        "images": list(images.values()),
        "categories": list(categories.values()),
        "annotations": annotations,
    }


def pick(known: dict, wanted: Iterable[int] | None, what: str) -> dict:
    """The entries of ``known`` (id -> anything) with the ids ``wanted``; all for None.

    Raises:
        UserError: an id that is not known; ``what`` says of what, for the message.
    """
    if wanted is None:
        return known
    wanted = list(dict.fromkeys(wanted))
    absent = [i for i in wanted if i not in known]
    if absent:
        raise UserError(f"{len(absent)} {what} ids are not in the ground truth, the first {absent[:5]}")
    return {i: known[i] for i in wanted}
