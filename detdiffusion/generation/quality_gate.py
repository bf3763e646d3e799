"""What a detector says about a synthetic set, object by object, and what follows from it.

Only detections above a score count, each for one object of its class at most, best overlaps first. An object is

* ``kept``: a detection overlaps its box well,
* ``moved``: one overlaps it a little, so the image shows it, but not where the annotation says,
* ``missed``: none does,
* ``unjudged``: the detector has no name for its class, or it is an ignored region already.

Detections that are left over are ``extra``: the image shows something that nobody asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from detdiffusion.perception.matching import one_to_one
from detdiffusion.perception.predictions import Predictions

from .identity import synthetic_annotation_id
from .options import GateRules

VERDICTS = ("kept", "moved", "missed", "unjudged")


@dataclass(frozen=True)
class Finding:
    """The verdict on one object.

    ``score``, ``iou`` and ``box`` (xyxy in pixels) are those of its detection, None where there is none.
    """

    verdict: str
    score: float | None = None
    iou: float | None = None
    box: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Extra:
    """A confident detection of no annotated object; ``box`` xyxy in pixels."""

    image_id: int
    category_id: int
    score: float
    box: tuple[float, ...]


def judge(
    images: Sequence[Mapping],
    annotations: Sequence[Mapping],
    predictions: Predictions,
    nameable: Collection[int],
    *,
    score_thr: float = 0.3,
    iou_thr: float = 0.5,
    moved_iou: float = 0.1,
) -> tuple[dict[int, Finding], list[Extra]]:
    """Verdicts on the objects of a set.

    Args:
        images, annotations: of the set's COCO json. Objects that an image record lists as ``not_prompted`` may
            explain a detection, which is then no ``extra``.
        predictions: of the images.
        nameable: category ids that the detector has a name for.
        score_thr: only detections above count.
        iou_thr: an overlap above is ``kept``.
        moved_iou: an overlap of at least this is ``moved``.

    Returns:
        ``(findings by annotation id, extras in the order of the predictions)``.
    """
    nameable = set(nameable)
    confident = (predictions.scores > score_thr) & np.isin(predictions.category_ids, sorted(nameable))
    boxes, scores = predictions.boxes[confident], predictions.scores[confident]
    image_ids, labels = predictions.image_ids[confident], predictions.category_ids[confident]
    judged = [a for a in annotations if a["category_id"] in nameable and not _is_ignored(a)]
    match, overlap = one_to_one(*_columns(judged), boxes, image_ids, labels, moved_iou)
    findings = {a["id"]: Finding("unjudged") for a in annotations}
    for annotation, pred, iou in zip(judged, match.tolist(), overlap.tolist()):
        if pred < 0:
            findings[annotation["id"]] = Finding("missed")
            continue
        verdict = "kept" if iou > iou_thr else "moved"
        findings[annotation["id"]] = Finding(verdict, float(scores[pred]), iou, tuple(boxes[pred].tolist()))
    left = np.ones(len(boxes), bool)
    left[match[match >= 0]] = False
    others = [a for a in annotations if _is_ignored(a)]
    others += [{**one, "image_id": image["id"]} for image in images for one in image.get("not_prompted", ())]
    rest = np.flatnonzero(left)
    explained, _ = one_to_one(*_columns(others), boxes[rest], image_ids[rest], labels[rest], moved_iou)
    left[rest[explained[explained >= 0]]] = False
    extras = [
        Extra(int(image_ids[i]), int(labels[i]), float(scores[i]), tuple(boxes[i].tolist()))
        for i in np.flatnonzero(left)
    ]
    return findings, extras


def apply_rules(
    coco: Mapping, findings: Mapping[int, Finding], extras: Sequence[Extra], rules: GateRules
) -> tuple[dict, Counter]:
    """A new COCO dict by the rules; every annotation also says its ``quality``, ``detection_score`` and ``_iou``.

    Args:
        coco: of the set; left as it is.
        findings, extras: of :func:`judge`.
        rules: what to do.

    Returns:
        ``(coco dict, counts of what was done)``.
    """
    done: Counter = Counter()
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    dropped = _images_to_drop(coco["annotations"], findings, rules)
    done["images dropped: too few objects found"] = len(dropped)
    annotations = []
    for annotation in coco["annotations"]:
        if annotation["image_id"] in dropped:
            done["objects dropped with their image"] += 1
            continue
        finding = findings[annotation["id"]]
        new = {**annotation, "quality": finding.verdict}
        if finding.score is not None:
            new.update(detection_score=round(finding.score, 4), detection_iou=round(finding.iou, 4))
        refined = _is_refined(finding, rules)
        if refined:
            done[f"boxes refined: {finding.verdict}"] += 1
            new.update(_refined(annotation["bbox"], finding.box, rules.refine, sizes[annotation["image_id"]]))
        action = {"missed": rules.missed, "moved": "keep" if refined else rules.moved}.get(finding.verdict)
        if action == "drop":
            done[f"objects dropped: {finding.verdict}"] += 1
            continue
        if action == "ignore":
            done[f"objects turned into ignored regions: {finding.verdict}"] += 1
            new["iscrowd"] = 1
        annotations.append(new)
    if rules.extra == "ignore":
        regions = [_ignored_region(number, extra) for number, extra in enumerate(extras)]
        regions = [region for region in regions if region["image_id"] not in dropped]
        done["ignored regions added: extra"] = len(regions)
        annotations += regions
    images = [image for image in coco["images"] if image["id"] not in dropped]
    return {**coco, "images": images, "annotations": annotations}, done


def count(
    annotations: Sequence[Mapping],
    findings: Mapping[int, Finding],
    extras: Sequence[Extra],
    key: Callable[[Mapping | Extra], str | None],
) -> dict[str, dict[str, int]]:
    """Verdicts by group.

    Args:
        annotations, findings, extras: see :func:`judge`.
        key: group of an annotation (dict) or an :class:`Extra`; None leaves it out.

    Returns:
        Group -> counts of :data:`VERDICTS` and 'extra', the largest group first.
    """
    groups: dict[str, Counter] = {}
    for annotation in annotations:
        if (group := key(annotation)) is not None:
            groups.setdefault(group, Counter())[findings[annotation["id"]].verdict] += 1
    for extra in extras:
        if (group := key(extra)) is not None:
            groups.setdefault(group, Counter())["extra"] += 1
    order = sorted(groups, key=lambda group: (-sum(groups[group].values()), group))
    return {group: {name: groups[group][name] for name in (*VERDICTS, "extra")} for group in order}


def _images_to_drop(annotations, findings, rules: GateRules) -> set[int]:
    judged, found = Counter(), Counter()
    for annotation in annotations:
        finding = findings[annotation["id"]]
        if finding.verdict != "unjudged":
            judged[annotation["image_id"]] += 1
            good = finding.verdict == "kept" or (finding.verdict == "moved" and _is_refined(finding, rules))
            found[annotation["image_id"]] += good
    return {image for image, number in judged.items() if found[image] / number < rules.min_found}


def _is_refined(finding: Finding, rules: GateRules) -> bool:
    return rules.refine > 0 and finding.score is not None and finding.score > rules.refine_score


def _refined(bbox, box, share: float, size: tuple[int, int]) -> dict:
    """The annotation's fields with its box moved by ``share`` of the way to the detection, inside the image."""
    x, y, w, h = bbox
    limits = (*size, *size)
    corners = [a + share * (b - a) for a, b in zip((x, y, x + w, y + h), box)]
    x1, y1, x2, y2 = (round(min(max(value, 0.0), limit), 3) for value, limit in zip(corners, limits))
    new = [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)]
    return dict(bbox=new, area=round(new[2] * new[3], 3), prompted_bbox=list(bbox))


def _ignored_region(number: int, extra: Extra) -> dict:
    x1, y1, x2, y2 = (round(value, 3) for value in extra.box)
    bbox = [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)]
    return dict(
        id=synthetic_annotation_id(extra.image_id, f"extra {number}"),
        image_id=extra.image_id,
        category_id=extra.category_id,
        bbox=bbox,
        area=round(bbox[2] * bbox[3], 3),
        iscrowd=1,
        quality="extra",
        detection_score=round(extra.score, 4),
    )


def _is_ignored(annotation: Mapping) -> bool:
    return bool(annotation.get("iscrowd") or annotation.get("ignore"))


def _columns(annotations: Sequence[Mapping]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes = np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    images = np.fromiter((a["image_id"] for a in annotations), np.int64, len(annotations))
    return boxes, images, np.fromiter((a["category_id"] for a in annotations), np.int64, len(annotations))
