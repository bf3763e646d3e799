"""The consistency report on hand-made scenes, and its matching beside pycocotools'."""

import numpy as np
import pytest

from detdiffusion.evaluation.attribute_effect import attribute_effect
from detdiffusion.evaluation.consistency import consistency_report, match_objects
from detdiffusion.evaluation.detection import coco_eval

CATEGORIES = [dict(id=1, name="ball"), dict(id=2, name="crate")]


def truth(boxes, images=1, size=100):
    """COCO dict of (image, category, box[, crowd]) tuples."""
    annotations = [
        dict(id=k, image_id=i, category_id=c, bbox=list(b), area=b[2] * b[3], iscrowd=int(bool(rest)))
        for k, (i, c, b, *rest) in enumerate(boxes, 1)
    ]
    entries = [dict(id=i, width=size, height=size, file_name=f"{i}.png") for i in range(1, images + 1)]
    return dict(images=entries, annotations=annotations, categories=CATEGORIES)


def results(boxes):
    return [dict(image_id=i, category_id=c, bbox=list(b), score=s) for i, c, b, s in boxes]


def test_a_scene_by_hand():
    """Of three objects one is exact, one shifted, one missed; one prediction is extra, one too weak to count."""
    gt = truth([(1, 1, (0, 0, 40, 50)), (1, 2, (50, 50, 30, 40)), (1, 1, (80, 0, 10, 10))], images=2)
    found = results(
        [
            (1, 1, (0, 0, 40, 50), 0.9),
            (1, 2, (53, 50, 30, 40), 0.8),
            (1, 1, (80, 0, 10, 10), 0.2),
            (2, 2, (0, 0, 9, 9), 0.7),
            (1, 2, (0, 0, 9, 9), 0.1),
        ]
    )
    report = consistency_report(match_objects(found, gt), gt)
    shifted = 27 * 40 / (33 * 40)
    assert report["all"] == pytest.approx(
        dict(
            objects=3,
            found=2 / 3,
            mean_iou=(1 + shifted) / 2,
            centre_offset=(0 + 3 / 50) / 2,
            mean_score=(0.9 + 0.8 + 0.2) / 3,
        )
    )
    assert {k: v["objects"] for k, v in report["by_size"].items()} == dict(small=1, medium=1, large=1)
    assert report["by_size"]["small"]["found"] == 0 and report["by_size"]["small"]["mean_iou"] is None
    assert (
        report["by_class"]["ball"]["found"] == 0.5 and report["by_class"]["crate"]["extra_per_image"] == 0.5
    )
    counts = report["counts"]
    assert (counts["missing_per_image"], counts["extra_per_image"]) == (0.5, 0.5)
    assert counts["images_with_exact_counts"] == 0


def test_one_prediction_finds_one_object_and_ignored_regions_are_neutral():
    gt = truth([(1, 1, (0, 0, 20, 20)), (1, 1, (1, 0, 20, 20)), (1, 1, (50, 50, 40, 40), True)])
    one = results([(1, 1, (0, 0, 20, 20), 0.9), (1, 1, (55, 55, 10, 10), 0.9), (1, 2, (55, 55, 10, 10), 0.9)])
    matches = match_objects(one, gt)
    assert matches.found.tolist() == [True, False]  # the second ball has no prediction of its own
    assert matches.extra_categories.tolist() == [
        2
    ]  # the ball on the ignored region is not extra, the crate is
    both = match_objects([*one, *results([(1, 1, (1, 0, 20, 20), 0.5)])], gt)
    assert both.found.all() and np.nanmin(both.iou) == 1


def test_matching_is_cocos():
    """Random scenes: the objects that pycocotools matches at IoU 0.5 are the found ones, the rest of its
    unignored predictions the extra ones."""
    rng = np.random.default_rng(0)
    boxes, guesses = [], []
    for image in range(1, 21):
        for _ in range(6):
            box = np.r_[rng.uniform(0, 60, 2), rng.uniform(10, 40, 2)]
            category, crowd = int(rng.integers(1, 3)), bool(rng.random() < 0.15)
            boxes.append((image, category, box, *([True] if crowd else [])))
            for _ in range(int(rng.integers(0, 3))):
                guesses.append((image, category, box + rng.normal(0, 4, 4), float(rng.uniform(0.31, 1))))
    gt, found = truth(boxes, images=20), results(guesses)
    matches = match_objects(found, gt)
    cells = [c for c in coco_eval(found, gt).evalImgs if c and c["aRng"][1] > 1e9 and c["aRng"][0] == 0]
    matched = {int(g) for c in cells for g in np.asarray(c["dtMatches"])[0] if g}
    crowds = {a["id"] for a in gt["annotations"] if a["iscrowd"]}
    assert {i for i, f in zip(matches.source_ids.tolist(), matches.found) if f} == matched - crowds
    extra = sum(int((~c["dtMatches"][0].astype(bool) & ~c["dtIgnore"][0]).sum()) for c in cells)
    assert len(matches.extra_images) == extra and len(matched) > 30 and extra > 5


def test_attribute_effect_is_paired_by_object():
    """Every object scores 0.3 lower on hard; images of the two sets have other ids and another order."""
    rng = np.random.default_rng(1)
    boxes = [(i, 1, (5, 5, 50, 50)) for i in range(1, 31)]
    gt, scores = truth(boxes, images=30), rng.uniform(0.4, 0.9, 30)
    easy = match_objects(results([(i, 1, (5, 5, 50, 50), s) for (i, *_), s in zip(boxes, scores)]), gt)
    hard = match_objects(results([(i, 1, (5, 5, 50, 50), s - 0.3) for (i, *_), s in zip(boxes, scores)]), gt)
    layouts = {i: 100 + i for i in range(1, 31)}
    effect = attribute_effect(easy, layouts, hard, layouts, resamples=200)
    assert (effect["objects"], effect["layouts"], effect["share_easy_higher"]) == (30, 30, 1)
    assert [effect[k] for k in ("difference", "low", "high")] == pytest.approx([0.3] * 3)
    assert effect["easy"] == pytest.approx(scores.mean())
    assert attribute_effect(easy, layouts, hard, {i: -i for i in layouts}) == dict(objects=0, layouts=0)


def test_empty_sets():
    gt = truth([], images=1)
    report = consistency_report(match_objects([], gt), gt)
    assert report["all"] == dict(objects=0, found=None, mean_iou=None, centre_offset=None, mean_score=None)
    assert report["counts"]["images_with_exact_counts"] == 1
