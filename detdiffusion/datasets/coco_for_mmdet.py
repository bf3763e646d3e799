"""A checked COCO json where mmdet's data sets read one, and counts of what they drop (imports mmdet)."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence

from mmdet.datasets.api_wrappers import COCO

from detdiffusion.datasets.coco_json import CLIPPED, read_coco
from detdiffusion.utils.errors import UserError


def open_checked(
    path: str,
    classes: Sequence[str],
    drops: Counter,
    same_order: bool = True,
    require_annotations: bool = True,
) -> COCO:
    """The object that mmdet makes of a json, of a checked file.

    Args:
        path: the json.
        classes: of ``metainfo``; each must be among the json's categories.
        drops: gets the reader's counts of left-out objects.
        same_order: the classes must have the order of the json's categories.
        require_annotations: False takes ``image_info_*.json``.

    Raises:
        UserError: see :func:`~detdiffusion.datasets.coco_json.read_coco`;
            a class that the json lacks or has at another place.
    """
    file = read_coco(path, require_annotations=require_annotations)
    drops.update({reason: count for reason, count in file.report.items() if reason != CLIPPED})
    _check_classes(path, [category["name"] for category in file.categories], classes, same_order)
    coco = COCO()
    coco.dataset = dict(images=file.images, annotations=file.annotations, categories=file.categories)
    coco.createIndex()
    coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs
    return coco


def count_drops(annotations: Sequence[dict], info: dict, cat_ids: Sequence[int], drops: Counter) -> None:
    """Counts the objects of one image that mmdet's parsing left out.

    Args:
        annotations: the image's.
        info: what mmdet made of them.
        cat_ids: category ids of the classes.
        drops: reason -> count, added to.
    """
    if len(info["instances"]) == len(annotations):
        return
    for annotation in annotations:
        if annotation.get("ignore", False):
            drops["marked 'ignore'"] += 1
        elif annotation["area"] <= 0 or min(annotation["bbox"][2:]) < 1:
            drops["smaller than a pixel"] += 1
        elif annotation["category_id"] not in cat_ids:
            drops["class not among metainfo['classes']"] += 1


def _check_classes(path: str, names: list[str], classes: Sequence[str], same_order: bool) -> None:
    for name in classes:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3)
            hint = f"near matches: {', '.join(near)}" if near else f"it has: {', '.join(names[:20])}"
            raise UserError(f"{path}: lacks the class {name!r} of metainfo['classes']; {hint}")
    in_file = [name for name in names if name in classes]
    if same_order and in_file != list(classes):
        raise UserError(
            f"{path}: metainfo['classes'] has another order than the json's categories, which mmdet's "
            f"labels and CocoMetric follow; write classes=({', '.join(map(repr, in_file))},)"
        )
