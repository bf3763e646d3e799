"""AP of hand-made cases whose value is known, and the errors."""

import json

import numpy as np
import pytest

from detdiffusion.evaluation.ap_matches import ApMatches
from detdiffusion.evaluation.detection import BACKENDS, evaluate_detection
from detdiffusion.evaluation.ground_truth import select_ground_truth
from detdiffusion.utils.errors import UserError


@pytest.fixture
def truth():
    images = [dict(id=i, file_name=f"{i}.png", width=200, height=200) for i in (1, 2)]
    boxes = [(1, 1, [10, 10, 50, 50]), (1, 2, [100, 100, 60, 60]), (2, 1, [20, 20, 100, 100])]
    annotations = [
        dict(id=k + 1, image_id=i, category_id=c, bbox=b, area=b[2] * b[3], iscrowd=0)
        for k, (i, c, b) in enumerate(boxes)
    ]
    return dict(
        images=images, annotations=annotations, categories=[dict(id=1, name="a"), dict(id=2, name="b")]
    )


def perfect(truth, score=0.9):
    return [
        dict(image_id=a["image_id"], category_id=a["category_id"], bbox=a["bbox"], score=score)
        for a in truth["annotations"]
    ]


def test_perfect_and_empty(truth):
    metrics = evaluate_detection(perfect(truth), truth, per_class=True)
    assert metrics["bbox_mAP"] == pytest.approx(1.0)
    assert metrics["bbox_mAP_s"] == -1
    assert metrics["bbox_mAP_m"] == pytest.approx(1.0)
    assert metrics["bbox_mAP_per_class"] == pytest.approx({"a": 1.0, "b": 1.0})
    assert evaluate_detection([], truth)["bbox_mAP"] == 0.0


def test_iou_thresholds(truth):
    """IoU 0.78 passes the thresholds 0.50 to 0.75: 6 of 10."""
    results = perfect(truth)
    for item in results:
        x, y, w, h = item["bbox"]
        item["bbox"] = [x, y, w * 0.78, h]
    metrics = evaluate_detection(results, truth)
    assert metrics["bbox_mAP"] == pytest.approx(0.6)
    assert metrics["bbox_mAP_75"] == pytest.approx(1.0)


def test_restrictions(truth):
    results = [r for r in perfect(truth) if r["image_id"] == 2]
    assert evaluate_detection(results, truth, image_ids=[2])["bbox_mAP"] == pytest.approx(1.0)
    assert evaluate_detection(results, truth, image_ids=[1])["bbox_mAP"] == 0.0
    # class a: 1 of 2 found at full precision = 51 of 101 recall points
    assert evaluate_detection(results, truth, category_ids=[1])["bbox_mAP"] == pytest.approx(51 / 101)
    # the object of 50 x 50 is ignored: class a is complete, class b missed
    assert evaluate_detection(results, truth, min_area=3000)["bbox_mAP"] == pytest.approx(0.5)


def test_unprompted_objects_are_ignored_or_false(truth):
    """A detection on an unprompted object is neutral as a crowd region, a false positive otherwise."""
    results = perfect(truth)
    results[0]["score"] = 0.95  # the unprompted one ranks first
    neutral = select_ground_truth(truth, annotation_ids=[2, 3], ignore_others=True)
    strict = select_ground_truth(truth, annotation_ids=[2, 3])
    assert evaluate_detection(results, neutral)["bbox_mAP"] == pytest.approx(1.0)
    assert evaluate_detection(results, strict)["bbox_mAP"] == pytest.approx(0.75)
    assert all(a["iscrowd"] == 0 for a in truth["annotations"])


def test_errors(truth, tmp_path):
    results = perfect(truth)
    with pytest.raises(UserError, match="image id 7 is not in the ground truth"):
        evaluate_detection([{**results[0], "image_id": 7}], truth)
    with pytest.raises(UserError, match="category id 9"):
        evaluate_detection([{**results[0], "category_id": 9}], truth)
    with pytest.raises(UserError, match="prediction 0"):
        evaluate_detection([{"image_id": 1}], truth)
    with pytest.raises(UserError, match="none.json"):
        evaluate_detection(results, tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match="broken json"):
        evaluate_detection(tmp_path / "broken.json", truth)
    with pytest.raises(UserError, match="no images, annotations"):
        evaluate_detection(results, {"categories": []})
    with pytest.raises(UserError, match="image ids"):
        evaluate_detection(results, truth, image_ids=[5])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("first", [0, 1, 2**53, 2**63 - 4])
def test_any_ids_score_right(truth, backend, first):
    """COCO's evaluation takes a match with annotation id 0 for none and keeps ids as floats."""
    for k, annotation in enumerate(truth["annotations"]):
        annotation.update(id=first + k, image_id=first + annotation["image_id"])
        annotation["category_id"] += first
    for entry in (*truth["images"], *truth["categories"]):
        entry["id"] += first
    metrics = evaluate_detection(perfect(truth), truth, backend=backend, per_class=True)
    assert metrics["bbox_mAP"] == pytest.approx(1.0)
    assert metrics["bbox_mAP_per_class"] == pytest.approx({"a": 1.0, "b": 1.0})
    assert ApMatches.from_results(perfect(truth), truth).ap() == pytest.approx(1.0)


@pytest.mark.parametrize("area", [0, -1, "2500", None, float("nan"), 2500 / 200**2, 1e9])
def test_sizes_follow_the_box_where_the_area_is_none(truth, area):
    for annotation in truth["annotations"]:
        annotation["area"] = area
    metrics = evaluate_detection(perfect(truth), truth)
    assert metrics["bbox_mAP_m"] == metrics["bbox_mAP_l"] == pytest.approx(1.0)
    assert metrics["bbox_mAP_s"] == -1


def test_a_file_passes_the_gate(truth, tmp_path):
    for annotation in truth["annotations"]:
        annotation["bbox"] = [value / 200 for value in annotation["bbox"]]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    with pytest.raises(UserError, match="truth.json: .*look normalised"):
        evaluate_detection([], tmp_path / "truth.json")


def random_case(seed, images=12, classes=5):
    """Objects with crowds and wide sizes; detections near them, on nothing, of other classes, with equal scores."""
    rng = np.random.default_rng(seed)
    truth = dict(
        images=[dict(id=7 * i + 3, file_name=f"{i}.png", width=640, height=480) for i in range(images)],
        categories=[dict(id=2 * c + 1, name=f"class {c}") for c in range(classes)],
        annotations=[],
    )
    results = []
    for image in truth["images"]:
        for _ in range(rng.integers(0, 9)):
            size = np.exp(rng.uniform(2, 6, 2))
            box = [*rng.uniform(0, 300, 2).round(2).tolist(), *size.round(2).tolist()]
            category = int(rng.choice([c["id"] for c in truth["categories"][:-1]]))  # one class has no object
            truth["annotations"].append(
                dict(
                    id=len(truth["annotations"]) + 1,
                    image_id=image["id"],
                    category_id=category,
                    bbox=box,
                    area=box[2] * box[3] * 0.8,
                    iscrowd=int(rng.random() < 0.15),
                )
            )
            for _ in range(rng.integers(0, 4)):
                other = int(rng.choice([c["id"] for c in truth["categories"]]))
                results.append(
                    dict(
                        image_id=image["id"],
                        category_id=category if rng.random() < 0.8 else other,
                        bbox=(np.array(box) * rng.normal(1, 0.08, 4)).tolist(),
                        score=round(float(rng.random()), 1),
                    )
                )
    return results, truth


@pytest.mark.parametrize("seed", range(4))
def test_faster_coco_eval_equals_pycocotools(seed):
    results, truth = random_case(seed)
    ids = [image["id"] for image in truth["images"]]
    for kwargs in (
        {},
        dict(image_ids=ids[:5]),
        dict(category_ids=[1, 5], min_area=2000.0),
    ):
        faster, reference = (
            evaluate_detection(results, truth, per_class=True, backend=backend, **kwargs)
            for backend in BACKENDS
        )
        assert faster.keys() == reference.keys() and 0 < reference["bbox_mAP"] < 1
        for name, value in reference.items():
            assert faster[name] == pytest.approx(value, abs=1e-12), (name, kwargs)
    # more detections than count, and none
    many = [dict(r, score=r["score"] / 10 + i / 1000) for i in range(60) for r in results[:20]]
    for predictions in (many, []):
        faster, reference = (evaluate_detection(predictions, truth, backend=b) for b in BACKENDS)
        assert faster == pytest.approx(reference, abs=1e-12)
    with pytest.raises(ValueError, match="choose one of faster-coco-eval, pycocotools"):
        evaluate_detection([], truth, backend="lvis")
