"""COCO bbox AP of a list of results against a ground truth.

AP is computed by faster-coco-eval (C++). pycocotools, the reference implementation, returns the same values (compared
by a test) and provides the matches per image for the bootstrap.
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
    """Return pycocotools' ``COCOeval`` after matching, before accumulation; see :func:`evaluate_detection`."""
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
    """Renumber images and categories in order, starting at 1, as faster-coco-eval stores ids as floats."""
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
    """Suppress the output of faster-coco-eval."""


def _set_params(
    params, images: list[int], categories: list[int], min_area: float, max_detections: int
) -> None:
    params.imgIds, params.catIds = images, categories
    params.maxDets = [1, 10, max_detections]
    params.areaRng = [[max(low, min_area), high] for low, high in params.areaRng]


def _checked(predictions, ground_truth, image_ids, category_ids) -> tuple[dict, list[dict], list, list]:
    """Return ground truth, results with ids and areas, and the sorted ids of the scored images and categories."""
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
                f"prediction {index}: bbox {item['bbox']} and score {item['score']} must be finite, with sides >= 0"
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

    # Numbered from 1, as a match with id 0 counts as no match, and ids are stored as floats.
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
    """Compute the COCO bbox AP (IoU 0.50:0.95, at most 100 detections per image).

    Args:
        predictions: COCO results (``image_id``, ``category_id``, ``bbox`` xywh in pixels, ``score``) or
            their json.
        ground_truth: COCO ground truth or its json.
        image_ids: score these images only; None scores all.
        category_ids: score these categories only; None scores all. Categories without annotations are excluded from
            the mean; categories unknown to the detector are included with AP 0.
        min_area: objects below this area in square pixels are ignored, like objects outside of one of COCO's area
            ranges.
        per_class: add ``bbox_mAP_per_class``, a dict of AP by category name.
        backend: one of :data:`BACKENDS`; the results are the same.

    Returns:
        Values in [0, 1] by :data:`METRIC_NAMES`; -1 if there are no such objects.

    Raises:
        UserError: a file is missing or damaged, or an id is not in the ground truth.
        ValueError: the backend is unknown.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown; choose one of {', '.join(BACKENDS)}")
    evaluate = coco_eval if backend == "pycocotools" else _faster_eval
    evaluator = evaluate(predictions, ground_truth, image_ids, category_ids, min_area, 100)
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
