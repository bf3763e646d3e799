"""Verdicts of a detector on the objects of a synthetic set, and rules to act on them.

Detections above a score threshold are matched one to one with objects of their class, highest IoU first. An object is

* ``kept`` if its detection overlaps its box well,
* ``moved`` if its detection overlaps its box slightly: the image shows the object, but not where it is annotated,
* ``missed`` if it has no detection,
* ``unjudged`` if the detector does not know its class, or if it already is an ignored region.

Unmatched detections are ``extra``: the image shows an object that is not in the layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detdiffusion.perception.matching import one_to_one
from detdiffusion.perception.predictions import Predictions
from detdiffusion.utils.errors import UserError

from .gate_options import DROP, IGNORE, KEEP, GateRules
from .identity import synthetic_annotation_id

VERDICTS = ("kept", "moved", "missed", "unjudged")


@dataclass(frozen=True)
class Finding:
    """The verdict on one object.

    ``score``, ``iou`` and ``box`` (xyxy in pixels) are those of its detection, or None without a detection.
    """

    verdict: str
    score: float | None = None
    iou: float | None = None
    box: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Extra:
    """A confident detection that matches no annotated object; ``box`` is xyxy in pixels."""

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
    """Return the verdicts on the objects of a set.

    Args:
        images, annotations: those of the set's COCO json. A detection that matches an object listed as
            ``not_prompted`` in an image record is not ``extra``.
        predictions: detections in the images.
        nameable: category ids that the detector knows.
        score_thr: detections with a lower score are ignored.
        iou_thr: objects with a higher IoU are ``kept``.
        moved_iou: objects with at least this IoU are ``moved``.

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
    unmatched = np.ones(len(boxes), bool)
    unmatched[match[match >= 0]] = False
    others = [a for a in annotations if _is_ignored(a)]
    others += [
        {**entry, "image_id": image["id"]} for image in images for entry in image.get("not_prompted", ())
    ]
    rest = np.flatnonzero(unmatched)
    explained, _ = one_to_one(*_columns(others), boxes[rest], image_ids[rest], labels[rest], moved_iou)
    unmatched[rest[explained[explained >= 0]]] = False
    extras = [
        Extra(int(image_ids[i]), int(labels[i]), float(scores[i]), tuple(boxes[i].tolist()))
        for i in np.flatnonzero(unmatched)
    ]
    return findings, extras


def apply_rules(
    coco: Mapping,
    findings: Mapping[int, Finding],
    extras: Sequence[Extra],
    rules: GateRules,
    refused: Collection[int] = (),
    high_loss: Collection[int] = (),
) -> tuple[dict, Counter]:
    """Apply rules to a set; annotations get ``quality``, ``detection_score`` and ``detection_iou``.

    Args:
        coco: COCO dict of the set; not modified.
        findings, extras: result of :func:`judge`.
        rules: the rules to apply.
        refused: category ids of refused classes, see ``rules.min_class_ap``.
        high_loss: annotation ids of objects to ignore, see ``rules.max_loss``.

    Returns:
        ``(new COCO dict, counts of the changes)``.

    Raises:
        UserError: ``rules.best_samples`` is set, and an image does not name its source image.
    """
    done: Counter = Counter()
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    dropped = _images_to_drop(coco, findings, extras, rules, refused, done)
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
        action = {"missed": rules.missed, "moved": KEEP if refined else rules.moved}.get(finding.verdict)
        if action == DROP:
            done[f"objects dropped: {finding.verdict}"] += 1
            continue
        reason = finding.verdict if action == IGNORE else _reason_to_ignore(annotation, refused, high_loss)
        if reason:
            done[f"objects turned into ignored regions: {reason}"] += 1
            new["iscrowd"] = 1
        annotations.append(new)
    if rules.extra == IGNORE:
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
    """Count verdicts by group.

    Args:
        annotations, findings, extras: see :func:`judge`.
        key: returns the group of an annotation (dict) or an :class:`Extra`, or None to leave it out.

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


def _images_to_drop(coco, findings, extras, rules: GateRules, refused, done: Counter) -> set[int]:
    """Return the ids of the images to drop, each counted in ``done`` by the first rule that drops it."""
    annotations = coco["annotations"]
    dropped = _with_few_found(annotations, findings, rules)
    done["images dropped: too few objects found"] = len(dropped)
    if rules.refused == DROP:
        images = {a["image_id"] for a in annotations if a["category_id"] in refused and not _is_ignored(a)}
        done["images dropped: an object of a refused class"] = len(images - dropped)
        dropped |= images
    if rules.best_samples is not None:
        check_sources(coco["images"], "best_samples")
        rest = [image for image in coco["images"] if image["id"] not in dropped]
        images = _all_but_the_best(rest, sample_scores(annotations, findings, extras), rules.best_samples)
        done["images dropped: not among the best samples"] = len(images)
        dropped |= images
    return dropped


def _with_few_found(annotations, findings, rules: GateRules) -> set[int]:
    judged, found = Counter(), Counter()
    for annotation in annotations:
        finding = findings[annotation["id"]]
        if finding.verdict != "unjudged":
            judged[annotation["image_id"]] += 1
            good = finding.verdict == "kept" or (finding.verdict == "moved" and _is_refined(finding, rules))
            found[annotation["image_id"]] += good
    return {image for image, number in judged.items() if found[image] / number < rules.min_found}


def sample_scores(
    annotations: Sequence[Mapping], findings: Mapping[int, Finding], extras: Sequence[Extra]
) -> dict[int, float]:
    """Score the images of a set by how well their objects are found.

    Args:
        annotations, findings, extras: see :func:`judge`.

    Returns:
        By image id, the sum of score · IoU over its objects' detections, divided by the number of judged objects and
        extra detections: 1 if every object is found exactly and with certainty, and nothing else is. Images with
        neither are left out.
    """
    total: Counter = Counter(extra.image_id for extra in extras)
    found: Counter = Counter()
    for annotation in annotations:
        finding = findings[annotation["id"]]
        total[annotation["image_id"]] += finding.verdict != "unjudged"
        if finding.score is not None:
            found[annotation["image_id"]] += finding.score * finding.iou
    return {image: found[image] / number for image, number in total.items() if number}


def _all_but_the_best(images: Sequence[Mapping], scores: Mapping[int, float], number: int) -> set[int]:
    """Return the ids of all but the ``number`` best images of each source image; the earlier sample wins a tie."""
    samples: dict[int, list] = {}
    for image in images:
        key = (-scores.get(image["id"], 0.0), image.get("sample_index", 0), image["id"])
        samples.setdefault(image["source_image_id"], []).append(key)
    return {image for keys in samples.values() for *_, image in sorted(keys)[number:]}


def samples_to_draw(images: Sequence[Mapping], scores: Mapping[int, float], most: int) -> dict[int, int]:
    """Return how many images to draw of each source image: the worse its objects are found, the more.

    As in FreeMask (Yang et al., NeurIPS 2023), the number depends on the rank: from 1 for the source image whose
    objects are found best to ``most`` for the one whose objects are found worst, linearly in between and rounded.

    Args:
        images: those of the set's COCO json.
        scores: result of :func:`sample_scores`; source images without a score are left out.
        most: the largest number.

    Returns:
        Number of images by source image id.

    Raises:
        UserError: an image does not name its source image.
    """
    check_sources(images, "draw_up_to")
    found: dict[int, list[float]] = {}
    for image in images:
        if image["id"] in scores:
            found.setdefault(image["source_image_id"], []).append(scores[image["id"]])
    order = sorted(found, key=lambda source: (-float(np.mean(found[source])), source))
    step = (most - 1) / max(1, len(order) - 1)
    return {source: 1 + round(rank * step) for rank, source in enumerate(order)}


def check_sources(images: Sequence[Mapping], option: str, where: str | Path = "the set") -> None:
    """Check that all images of a set name their source image.

    Args:
        images: COCO image dicts.
        option: the setting that needs it, for the message.
        where: the annotation file, for the message.

    Raises:
        UserError: an image does not.
    """
    for image in images:
        if "source_image_id" not in image:
            raise UserError(
                f"{where}: image {image['id']} has no source_image_id, so it is unknown which images are samples of "
                f"the same layout; leave out `{option}`, or use a set of tools/generate.py, which has it"
            )


def _reason_to_ignore(annotation: Mapping, refused: Collection[int], high_loss: Collection[int]) -> str:
    """Return why an object that its verdict does not concern becomes an ignored region; '' if it does not."""
    if annotation["category_id"] in refused and not _is_ignored(annotation):
        return "class refused"
    return "loss too high" if annotation["id"] in high_loss else ""


def _is_refined(finding: Finding, rules: GateRules) -> bool:
    return rules.refine > 0 and finding.score is not None and finding.score > rules.refine_score


def _refined(bbox, box, share: float, size: tuple[int, int]) -> dict:
    """Return the annotation's fields with its box moved by ``share`` of the way to the detection, and clipped."""
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
