"""Equation 2 against a direct transcription with torchvision's box_iou, and its edge cases."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from detdiffusion.perception import Predictions, best_matches, matching, perception_attributes
from detdiffusion.perception.summary import format_summary, summarise


def make_set(seed: int, images: int = 12):
    """Random annotations, and predictions near some of them."""
    rng = np.random.default_rng(seed)
    annotations, rows = [], []
    for image_id in range(images):
        for _ in range(rng.integers(0, 9)):
            box = [*rng.uniform(0, 60, 2), *rng.uniform(2, 40, 2)]
            annotations.append(
                dict(
                    id=1000 - len(annotations),
                    image_id=image_id * 7,
                    category_id=int(rng.integers(1, 5)),
                    bbox=box,
                    area=box[2] * box[3],
                    iscrowd=0,
                )
            )
            for _ in range(rng.integers(0, 3)):
                shifted = np.array(box) * rng.uniform(0.75, 1.25, 4)
                rows.append((image_id * 7, int(rng.integers(1, 5)), *shifted, rng.uniform()))
    rng.shuffle(rows)
    table = np.array(rows)
    boxes = table[:, 2:6].copy()
    boxes[:, 2:] += boxes[:, :2]
    return annotations, Predictions(table[:, 0].astype(int), table[:, 1].astype(int), boxes, table[:, 6])


def transcription(annotations, predictions, nameable, score_thr, iou_thr, class_aware):
    """Equation 2 as it reads, object by object."""
    words, scores = {}, {}
    for annotation in annotations:
        if annotation["category_id"] not in nameable:
            words[annotation["id"]] = "background"
            continue
        x, y, w, h = annotation["bbox"]
        target = torch.tensor([[x, y, x + w, y + h]], dtype=torch.float64)
        words[annotation["id"]], scores[annotation["id"]] = "hard", 0.0
        for j in range(len(predictions)):
            if predictions.image_ids[j] != annotation["image_id"]:
                continue
            if class_aware and predictions.category_ids[j] != annotation["category_id"]:
                continue
            iou = box_iou(target, torch.from_numpy(predictions.boxes[j : j + 1])).item()
            score = predictions.scores[j]
            scores[annotation["id"]] = max(scores[annotation["id"]], iou * score)
            if score > score_thr and iou > iou_thr:
                words[annotation["id"]] = "easy"
    return words, scores


@pytest.mark.parametrize("class_aware", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_transcription_of_equation_2(seed, class_aware, monkeypatch):
    monkeypatch.setattr(matching, "_PAIRS_AT_ONCE", 17)  # many chunks
    annotations, predictions = make_set(seed)
    nameable = {1, 2, 4}
    options = dict(score_thr=0.35, iou_thr=0.55, class_aware=class_aware)
    result = perception_attributes(annotations, predictions, nameable, **options)
    words, scores = transcription(annotations, predictions, nameable, *options.values())
    assert result.attributes == words
    assert result.scores.keys() == scores.keys()
    assert [result.scores[k] for k in scores] == pytest.approx(list(scores.values()), abs=1e-12)
    assert {"easy", "hard", "background"} == set(words.values()), "the case is too easy"
    assert result.counts == {w: list(words.values()).count(w) for w in ("easy", "hard", "background")}


def one(bbox, **more):
    return dict(id=5, image_id=1, category_id=2, bbox=bbox, area=1.0, iscrowd=0, **more)


def predict(box, score, category_id=2, image_id=1):
    return Predictions(
        np.array([image_id]), np.array([category_id]), np.array([box], float), np.array([score], float)
    )


@pytest.mark.parametrize(
    ("box", "score", "word"),
    [
        ([0, 0, 10, 5], 0.9, "hard"),  # IoU exactly 0.5
        ([0, 0, 10, 5.01], 0.9, "easy"),
        ([0, 0, 10, 10], 0.3, "hard"),  # score exactly at the threshold
        ([0, 0, 10, 10], 0.3001, "easy"),
        ([0, 0, 10, 0], 0.9, "hard"),  # a prediction without area
    ],
)
def test_both_thresholds_are_strict(box, score, word):
    result = perception_attributes([one([0, 0, 10, 10])], predict(box, score), {2})
    assert result.attributes == {5: word}


def test_class_aware_matching_wants_the_same_category():
    found = predict([0, 0, 10, 10], 0.9, category_id=3)
    annotation = one([0, 0, 10, 10])
    assert perception_attributes([annotation], found, {2}).attributes == {5: "easy"}
    assert perception_attributes([annotation], found, {2}, class_aware=True).attributes == {5: "hard"}


def test_predictions_of_other_images_do_not_count():
    found = predict([0, 0, 10, 10], 0.9, image_id=2)
    assert perception_attributes([one([0, 0, 10, 10])], found, {2}).attributes == {5: "hard"}


def test_without_predictions_everything_nameable_is_hard():
    nothing = Predictions(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 4)), np.zeros(0))
    annotations, _ = make_set(0)
    result = perception_attributes(annotations, nothing, {1, 2, 3, 4})
    assert set(result.attributes.values()) == {"hard"} and set(result.scores.values()) == {0.0}
    assert perception_attributes([], nothing, {1}).attributes == {}


def test_crowds_and_ignored_objects_get_no_attribute_and_are_counted():
    crowd = dict(one([0, 0, 9, 9]), id=6, iscrowd=1)
    ignored = dict(one([0, 0, 9, 9]), id=7, ignore=1)
    result = perception_attributes([one([0, 0, 10, 10]), crowd, ignored], predict([0, 0, 10, 10], 0.9), {2})
    assert result.attributes == {5: "easy"}
    assert sorted(result.skipped.values()) == [1, 1]


def test_best_iou_ignores_weak_predictions_but_the_continuous_score_does_not():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5.0]])
    iou, product = best_matches(
        np.array([[0, 0, 10, 10.0]]), np.array([1]), boxes, np.array([0.2, 0.31]), np.array([1, 1])
    )
    assert iou.tolist() == [0.5]
    assert product.tolist() == [pytest.approx(0.2)]


def test_summary_counts_by_class_and_by_coco_size():
    annotations = [
        dict(id=1, category_id=1, area=32**2 - 1),
        dict(id=2, category_id=1, area=32**2),
        dict(id=3, category_id=2, area=96**2),
        dict(id=4, category_id=2, area=5.0),  # a crowd: no attribute
    ]
    words = {1: "hard", 2: "easy", 3: "background"}
    groups = summarise(annotations, words, {1: "cat", 2: "sky"})
    assert groups["class"]["cat"] == {"easy": 1, "hard": 1, "background": 0, "easy_share": 0.5}
    assert groups["class"]["sky"] == {"easy": 0, "hard": 0, "background": 1, "easy_share": None}
    assert [groups["size"][s]["easy_share"] for s in ("small", "medium", "large")] == [0.0, 1.0, None]
    assert "cat" in format_summary(groups) and "50.0%" in format_summary(groups)
