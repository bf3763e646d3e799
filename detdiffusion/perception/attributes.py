"""Perception-aware attributes: Equation 2 of the paper, vectorised over a data set.

An object is *easy* if any prediction with score > gamma overlaps its box with IoU > beta (both strict), else
*hard*; *background* if the detector does not know its class. Matching is class-agnostic as in the paper; with
``class_aware`` only predictions of the object's category are considered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from detdiffusion.structures.layout import ATTRIBUTES

from .levels import Levels
from .matching import SCORE_THR, best_matches
from .predictions import Predictions

# The paper does not give a value of beta.
IOU_THR = 0.5

CROWD = "crowd: a group has no attribute"
IGNORE = "marked 'ignore': no attribute"


@dataclass
class AttributeResult:
    """Attributes of one data set.

    Attributes:
        attributes: 'easy', 'hard' or 'background' by annotation id; with levels, one of them or 'background'.
        scores: continuous score in [0, 1] by annotation id: the highest IoU * score of any prediction, without
            thresholds; only for objects that are not 'background'.
        skipped: number of annotations without an attribute (crowds, ignore), by reason.
        words: all attributes, easiest first, 'background' last.
    """

    attributes: dict[int, str]
    scores: dict[int, float]
    skipped: dict[str, int] = field(default_factory=dict)
    words: tuple[str, ...] = ATTRIBUTES

    @property
    def counts(self) -> dict[str, int]:
        """Number of objects with each attribute."""
        counted = Counter(self.attributes.values())
        return {name: counted[name] for name in self.words}


def perception_attributes(
    annotations: Sequence[dict],
    predictions: Predictions,
    nameable: Collection[int],
    *,
    score_thr: float = SCORE_THR,
    iou_thr: float = IOU_THR,
    class_aware: bool = False,
    levels: Levels | None = None,
) -> AttributeResult:
    """Compute the attributes of COCO annotations by Equation 2, or levels of difficulty by the continuous score.

    Crowds and annotations marked ``ignore`` get no attribute, as a single prediction cannot match a box around a
    group, and the layout filter drops crowds anyway. They are counted in ``skipped``.

    Args:
        annotations: validated dicts (:func:`detdiffusion.datasets.coco_json.read_coco`) with unique ids.
        predictions: predictions on the images of the annotations.
        nameable: category ids that the detector knows; objects of other categories are 'background'.
        score_thr: gamma, strict.
        iou_thr: beta, strict.
        class_aware: match objects only with predictions of the same category.
        levels: levels of difficulty by the continuous score, instead of 'easy' and 'hard'; the thresholds are then
            not used.

    Returns:
        An attribute for every annotation that is neither a crowd nor ignored, in the annotations' order.
    """
    skipped = {CROWD: 0, IGNORE: 0}
    objects = []
    for annotation in annotations:
        if annotation.get("iscrowd"):
            skipped[CROWD] += 1
        elif annotation.get("ignore"):
            skipped[IGNORE] += 1
        else:
            objects.append(annotation)
    nameable = set(nameable)
    known = np.fromiter((a["category_id"] in nameable for a in objects), bool, len(objects))
    rows = np.flatnonzero(known)
    boxes = np.array([objects[i]["bbox"] for i in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    images = np.fromiter((objects[i]["image_id"] for i in rows), np.int64, len(rows))
    labels = np.fromiter((objects[i]["category_id"] for i in rows), np.int64, len(rows))
    best_iou, products = best_matches(
        boxes,
        images,
        predictions.boxes,
        predictions.scores,
        predictions.image_ids,
        score_thr=score_thr,
        gt_labels=labels if class_aware else None,
        pred_labels=predictions.category_ids if class_aware else None,
    )
    words = np.full(len(objects), "background", dtype=object)
    if levels is None:
        words[rows] = np.where(best_iou > iou_thr, "easy", "hard")
    else:
        words[rows] = levels.words_of(products)
    return AttributeResult(
        attributes={a["id"]: word for a, word in zip(objects, words.tolist())},
        scores={objects[i]["id"]: float(value) for i, value in zip(rows, products)},
        skipped={reason: count for reason, count in skipped.items() if count},
        words=ATTRIBUTES if levels is None else (*levels.names, "background"),
    )
