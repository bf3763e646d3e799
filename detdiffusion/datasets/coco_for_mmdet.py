"""A checked COCO json where mmdet's data sets and metrics read one, and counts of what they drop (imports mmdet)."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log

from detdiffusion.datasets.boxes import SKIPPED
from detdiffusion.datasets.class_names import check_known, class_list
from detdiffusion.datasets.coco_json import finding_lines, read_coco
from detdiffusion.datasets.filter_share import little_left, quantiles, refuse_least
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.findings import raise_errors

CLASSES = "metainfo['classes']"
TINY = "smaller than a pixel"


def open_checked(path: str, drops: Counter, require_annotations: bool = True, masks: bool = False) -> COCO:
    """The object that mmdet makes of a json, of a checked file.

    Annotations are numbered from 1: COCO's evaluation takes a match with id 0 for none, and keeps ids as floats. Ids of
    images and categories are the file's.

    Args:
        path: the json.
        drops: gets the reader's counts of left-out objects.
        require_annotations: False takes ``image_info_*.json``.
        masks: segmentations are going to be read: bad ones are errors, and where there is none the box serves as mask.

    Raises:
        UserError: see :func:`~detdiffusion.datasets.coco_json.read_coco`.
    """
    file = read_coco(path, require_annotations=require_annotations)
    if masks:
        raise_errors(file.mask_errors)
        for annotation in file.annotations:
            x, y, w, h = annotation["bbox"]
            if not annotation.get("segmentation"):
                annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    drops.update(file.skipped)
    others = [finding for finding in file.findings if finding.remedy != SKIPPED]
    if others:
        print_log("\n".join([f"{path}:", *finding_lines(others)]), logger="current")
    for number, annotation in enumerate(file.annotations, 1):
        annotation["id"] = number
    coco = COCO()
    coco.dataset = dict(images=file.images, annotations=file.annotations, categories=file.categories)
    coco.createIndex()
    coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs
    return coco


def check_classes(path: str, coco: COCO, classes: Sequence[str], same_order: bool = True) -> None:
    """Whether mmdet's labels mean what they should.

    Args:
        path: of the json, for messages.
        coco: what :func:`open_checked` made of it.
        classes: of ``metainfo``; each must be among the json's categories.
        same_order: the classes must have the order of the json's categories.

    Raises:
        UserError: a class that the json lacks or has at another place, or classes that are no list of names.
    """
    classes = class_list(classes, CLASSES)
    names = [category["name"] for category in coco.dataset["categories"]]
    check_known(classes, names, CLASSES, path)
    in_file = [name for name in names if name in classes]
    if same_order and in_file != classes:
        raise UserError(
            f"{path}: {CLASSES} has another order than the json's categories, which mmdet's "
            f"labels and CocoMetric follow; write classes=({', '.join(map(repr, in_file))},)"
        )


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
        elif min(annotation["bbox"][2:]) < 1:
            drops[TINY] += 1
        elif annotation["category_id"] not in cat_ids:
            drops["class not among metainfo['classes']"] += 1


def check_share(
    before: Sequence[dict], kept: Sequence[dict], tiny: int, filter_cfg: Mapping, least: float, where: str
) -> None:
    """Whether a filter left enough of the objects; prints a warning where that is little.

    Args:
        before, kept: mmdet's images before and after ``filter_cfg``.
        tiny: number of objects that mmdet dropped because they are smaller than a pixel.
        filter_cfg: mmdet's; ``min_size`` takes images with their objects.
        least: smallest share that is allowed.
        where: whose objects they are, for messages.

    Raises:
        UserError: less than ``least`` is left.
    """
    left, total = (
        sum(not one["ignore_flag"] for i in infos for one in i["instances"]) for infos in (kept, before)
    )
    sizes = f"min_size={filter_cfg.get('min_size', 0)}"
    taken = {sizes: total - left, "a side of at least one pixel": tiny}
    spreads = {
        sizes: f"shorter side of the images: {quantiles([min(i['width'], i['height']) for i in before], '.0f')}"
    }
    said = little_left(left, taken, "min_size is in filter_cfg", spreads)
    if said is None:
        return
    refuse_least(left, taken, least, f"{where}: {said}", "set min_kept=0 beside filter_cfg")
    print_log(f"warning: {where}: {said}", logger="current", level=logging.WARNING)


def loads_masks(pipeline: Sequence) -> bool:
    """Whether a step of an mmdet pipeline reads segmentations.

    Args:
        pipeline: mmengine's ``Compose``.
    """
    return any(getattr(step, "with_mask", False) for step in pipeline.transforms)
