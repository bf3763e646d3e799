"""COCO bbox AP of a results list against a ground-truth json.

AP is counted by faster-coco-eval (C++); pycocotools, the reference, gives the same figures (a test compares
them) and the per-image matches of the bootstrap.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detdiffusion.datasets.coco_objects import plausible_area
from detdiffusion.evaluation.ground_truth import load_ground_truth, pick
from detdiffusion.evaluation.names import METRIC_NAMES
from detdiffusion.perception.predictions import read_results
from detdiffusion.utils.errors import UserError

BACKENDS = ("faster-coco-eval", "pycocotools")


def coco_eval(
    predictions: str | Path | Sequence[Mapping],
    ground_truth: str | Path | Mapping,
    image_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
    min_area: float = 0.0,
    max_detections: int = 100,
) -> COCOeval:
    """pycocotools' ``COCOeval`` with per-image matches, before accumulation; see :func:`evaluate_detection`."""
    truth, results, images, categories = _checked(predictions, ground_truth, image_ids, category_ids)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator = COCOeval(_index(truth), _index({**truth, "annotations": results}), "bbox")
        _set_params(evaluator.params, images, categories, min_area, max_detections)
        evaluator.evaluate()
    return evaluator


def _faster_eval(predictions, ground_truth, image_ids, category_ids, min_area: float, max_detections: int):
    from faster_coco_eval import COCO as FasterCOCO
    from faster_coco_eval import COCOeval_faster

    checked = _checked(predictions, ground_truth, image_ids, category_ids)
    truth, results, images, categories = _numbered_from_one(*checked)
    evaluator = COCOeval_faster(
        FasterCOCO(truth),
        FasterCOCO({**truth, "annotations": results}),
        "bbox",
        print_function=_silent,
    )
    _set_params(evaluator.params, images, categories, min_area, max_detections)
    evaluator.evaluate()
    return evaluator


def _numbered_from_one(truth: dict, results: list[dict], images: list, categories: list) -> tuple:
    """Images and categories in the same order with small ids: faster-coco-eval keeps them as floats."""
    image_of = {old: new for new, old in enumerate(sorted(i["id"] for i in truth["images"]), 1)}
    category_of = {old: new for new, old in enumerate(sorted(c["id"] for c in truth["categories"]), 1)}

    def objects(entries: Iterable[dict]) -> list[dict]:
        return [
            {**e, "image_id": image_of[e["image_id"]], "category_id": category_of[e["category_id"]]}
            for e in entries
        ]

    numbered = {
        **truth,
        "images": [{**image, "id": image_of[image["id"]]} for image in truth["images"]],
        "categories": [{**c, "id": category_of[c["id"]]} for c in truth["categories"]],
        "annotations": objects(truth["annotations"]),
    }
    return numbered, objects(results), [image_of[i] for i in images], [category_of[c] for c in categories]


def _silent(*lines) -> None:
    """In place of faster-coco-eval's prints."""


def _set_params(
    params, images: list[int], categories: list[int], min_area: float, max_detections: int
) -> None:
    params.imgIds, params.catIds = images, categories
    params.maxDets = [1, 10, max_detections]
    params.areaRng = [[max(low, min_area), high] for low, high in params.areaRng]


def _checked(predictions, ground_truth, image_ids, category_ids) -> tuple[dict, list[dict], list, list]:
    """Ground truth, results with ids and areas, and the sorted image and category ids that are scored."""
    data = load_ground_truth(ground_truth)
    images = {image["id"] for image in data["images"]}
    categories = {category["id"] for category in data["categories"]}
    if isinstance(predictions, (str, Path)):
        found = read_results(predictions, {image["id"]: image for image in data["images"]}, categories)
        for reason, number in found.report.items():
            raise UserError(f"{predictions}: {number} × {reason}; give predictions on these images only")
        predictions = found.to_coco_results()
    kept_images = set(pick(dict.fromkeys(images), image_ids, "image"))
    kept_categories = set(pick(dict.fromkeys(categories), category_ids, "category"))
    results = []
    for index, item in enumerate(predictions):
        try:
            image, category = item["image_id"], item["category_id"]
            x, y, w, h = (float(v) for v in item["bbox"])
            score = float(item["score"])
            known = image in images, category in categories
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"prediction {index} is not a COCO bbox result "
                f"(image_id, category_id, bbox xywh, score): {error!r}"
            ) from None
        if not math.isfinite(x + y + w + h + score) or min(w, h) < 0:
            raise UserError(
                f"prediction {index}: bbox {item['bbox']} and score {item['score']} must be finite, with sides from 0"
            )
        if not known[0]:
            raise UserError(f"prediction {index}: image id {image} is not in the ground truth")
        if not known[1]:
            raise UserError(f"prediction {index}: category id {category} is not in the ground truth")
        if image in kept_images and category in kept_categories:
            results.append(
                dict(
                    id=len(results) + 1,
                    image_id=image,
                    category_id=category,
                    bbox=[x, y, w, h],
                    area=w * h,
                    score=score,
                    iscrowd=0,
                )
            )

    # Numbered from 1: a match with id 0 counts as none, and ids are kept as floats.
    annotations = [
        {"iscrowd": 0, **a, "area": _area(a), "id": number} for number, a in enumerate(data["annotations"], 1)
    ]
    return {**data, "annotations": annotations}, results, sorted(kept_images), sorted(kept_categories)


def _area(annotation: Mapping) -> float:
    area, (_, _, width, height) = annotation.get("area"), annotation["bbox"]
    return area if plausible_area(area, width, height) else width * height


def evaluate_detection(
    predictions: str | Path | Sequence[Mapping],
    ground_truth: str | Path | Mapping,
    image_ids: Iterable[int] | None = None,
    category_ids: Iterable[int] | None = None,
    min_area: float = 0.0,
    per_class: bool = False,
    backend: str = "faster-coco-eval",
) -> dict:
    """COCO bbox AP (IoU 0.50:0.95, at most 100 detections an image).

    Args:
        predictions: COCO results (``image_id``, ``category_id``, ``bbox`` xywh in pixels, ``score``) or
            their json.
        ground_truth: COCO ground truth or its json.
        image_ids: score these images only; None scores all.
        category_ids: score these categories only; None scores all. A category without annotations does not
            enter the mean, one that the detector cannot name enters it with 0.
        min_area: objects below this area in square pixels are ignored, as COCO ignores what is outside
            an area range.
        per_class: add ``bbox_mAP_per_class``: a dict from category name to AP.
        backend: one of :data:`BACKENDS`; the figures are the same.

    Returns:
        :data:`METRIC_NAMES` to floats in [0, 1]; -1 where there is no object of that kind.

    Raises:
        UserError: a file is missing or broken, or an id is not in the ground truth.
        ValueError: an unknown backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r}: there are {', '.join(BACKENDS)}")
    count = coco_eval if backend == "pycocotools" else _faster_eval
    evaluator = count(predictions, ground_truth, image_ids, category_ids, min_area, 100)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.accumulate()
        evaluator.summarize()
    metrics: dict = {name: float(value) for name, value in zip(METRIC_NAMES, evaluator.stats)}
    if per_class:
        precision = evaluator.eval["precision"][:, :, :, 0, -1]
        names = {c["id"]: c["name"] for c in evaluator.cocoGt.dataset["categories"]}
        metrics["bbox_mAP_per_class"] = {
            names[category]: float(np.mean(p)) if (p := precision[:, :, k])[p > -1].size else -1.0
            for k, category in enumerate(evaluator.params.catIds)
        }
    return metrics


def _index(data: dict) -> COCO:
    coco = COCO()
    coco.dataset = data
    coco.createIndex()
    return coco
