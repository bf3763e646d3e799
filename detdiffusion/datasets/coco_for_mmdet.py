"""Validated COCO jsons for mmdet's data sets and metrics, and counts of what they drop (imports mmdet)."""

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
    """Validate a json and open it as mmdet's ``COCO`` object.

    Annotations are renumbered from 1, because COCO's evaluation treats a match with id 0 as none and stores ids as
    floats. Ids of images and categories are unchanged.

    Args:
        path: the json.
        drops: receives the reader's counts of skipped objects.
        require_annotations: False accepts ``image_info_*.json``.
        masks: whether segmentations will be read; then invalid ones are errors, and a missing one is replaced by the
            box.

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
    """Check that mmdet's labels correspond to the json's categories.

    Args:
        path: path of the json, used in error messages.
        coco: result of :func:`open_checked`.
        classes: classes of ``metainfo``; each must be among the json's categories.
        same_order: whether the classes must be in the order of the json's categories.

    Raises:
        UserError: if the json lacks a class or has another order, or the classes are not a list of names.
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
    """Count the objects of one image that mmdet's parsing dropped.

    Args:
        annotations: the image's annotations.
        info: mmdet's result for them.
        cat_ids: category ids of the classes.
        drops: reason -> count, updated in place.
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
    """Check that a filter kept enough of the objects; prints a warning if it kept few.

    Args:
        before, kept: mmdet's images before and after ``filter_cfg``.
        tiny: number of objects that mmdet dropped because they are smaller than a pixel.
        filter_cfg: mmdet's filter; its ``min_size`` removes images together with their objects.
        least: smallest share that is allowed.
        where: the data set's name, used in messages.

    Raises:
        UserError: if it kept less than ``least``.
    """
    left, total = _count_objects(kept), _count_objects(before)
    sizes = f"min_size={filter_cfg.get('min_size', 0)}"
    taken = {sizes: total - left, "a side of at least one pixel": tiny}
    spreads = {
        sizes: f"shorter side of the images: {quantiles([min(i['width'], i['height']) for i in before], '.0f')}"
    }
    warning = little_left(left, taken, "min_size is in filter_cfg", spreads)
    if warning is None:
        return
    refuse_least(left, taken, least, f"{where}: {warning}", "set min_kept=0 beside filter_cfg")
    print_log(f"warning: {where}: {warning}", logger="current", level=logging.WARNING)


def _count_objects(infos: Sequence[dict]) -> int:
    return sum(not instance["ignore_flag"] for info in infos for instance in info["instances"])


def loads_masks(pipeline: Sequence) -> bool:
    """Return whether a step of an mmdet pipeline reads segmentations.

    Args:
        pipeline: mmengine's ``Compose``.
    """
    return any(getattr(step, "with_mask", False) for step in pipeline.transforms)
