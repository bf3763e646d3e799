"""The re-accumulated AP equals pycocotools', with and without repeated images."""

import numpy as np
import pytest

from detdiffusion.evaluation.ap_matches import ApMatches
from detdiffusion.evaluation.bootstrap import paired_bootstrap, percentile_bootstrap
from detdiffusion.evaluation.detection import evaluate_detection
from detdiffusion.utils.errors import UserError


def random_case(seed, images=40, classes=4, noise=3.0, extra=6, crowd=0.1):
    """Objects, and detections that are jittered objects plus random boxes."""
    rng = np.random.default_rng(seed)
    truth = dict(
        images=[dict(id=i + 1, width=128, height=128) for i in range(images)],
        categories=[dict(id=c + 1, name=str(c)) for c in range(classes)],
        annotations=[],
    )
    results = []
    for i in range(images):
        for _ in range(rng.integers(0, 6)):
            xy, wh = rng.uniform(0, 60, 2), rng.uniform(8, 60, 2)
            category = int(rng.integers(1, classes + 1))
            truth["annotations"].append(
                dict(
                    id=len(truth["annotations"]) + 1,
                    image_id=i + 1,
                    category_id=category,
                    bbox=[*xy, *wh],
                    area=float(wh.prod()),
                    iscrowd=int(rng.random() < crowd),
                )
            )
            for _ in range(rng.integers(0, 3)):
                box = np.concatenate([xy, wh]) + rng.normal(0, noise, 4)
                results.append(
                    dict(
                        image_id=i + 1,
                        category_id=category,
                        bbox=box.clip(1).tolist(),
                        score=float(rng.random()),
                    )
                )
        for _ in range(rng.integers(0, extra)):
            box = np.concatenate([rng.uniform(0, 60, 2), rng.uniform(8, 60, 2)])
            category = int(rng.integers(1, classes + 1))
            results.append(
                dict(
                    image_id=i + 1,
                    category_id=category,
                    bbox=box.tolist(),
                    score=round(float(rng.random()), 1),
                )
            )
    return results, truth


def repeat(results, truth, counts):
    """The literal data set in which image i appears counts[i] times."""
    images, annotations, copies = [], [], []
    for i, count in enumerate(counts):
        for _ in range(count):
            new = len(images) + 1
            images.append(dict(id=new, width=128, height=128))
            annotations += [
                {**a, "image_id": new, "id": len(annotations) + k + 1}
                for k, a in enumerate(x for x in truth["annotations"] if x["image_id"] == i + 1)
            ]
            copies += [{**r, "image_id": new} for r in results if r["image_id"] == i + 1]
    return copies, dict(images=images, annotations=annotations, categories=truth["categories"])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("min_area", [0.0, 700.0])
def test_equals_pycocotools(seed, min_area):
    results, truth = random_case(seed)
    expected = evaluate_detection(results, truth, min_area=min_area)["bbox_mAP"]
    assert 0.05 < expected < 0.95
    assert ApMatches.from_results(results, truth, min_area=min_area).ap() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_weights_equal_repeated_images(seed):
    results, truth = random_case(seed, images=25)
    rng = np.random.default_rng(seed)
    for item in results:  # no ties: their order is the image order, which repetition changes
        item["score"] = float(rng.random())
    matches = ApMatches.from_results(results, truth)
    counts = np.bincount(rng.integers(0, 25, 25), minlength=25)
    expected = evaluate_detection(*repeat(results, truth, counts))["bbox_mAP"]
    assert matches.ap(counts) == pytest.approx(expected, abs=1e-6)


def test_no_detections_and_no_objects():
    results, truth = random_case(0)
    assert ApMatches.from_results([], truth).ap() == 0.0
    assert ApMatches.from_results(results, {**truth, "annotations": []}).ap() == -1.0


def test_paired_bootstrap():
    good, truth = random_case(1, images=60, noise=1.0)
    bad = [
        {**r, "bbox": [r["bbox"][0] + 6, *r["bbox"][1:]]} for r in good
    ]  # the same detections, 6 pixels off
    a, b = ApMatches.from_results(good, truth), ApMatches.from_results(bad, truth)
    result = paired_bootstrap(a, b, resamples=200, seed=3)
    assert 0 < result.low < result.mean < result.high
    assert result.difference == pytest.approx(a.ap() - b.ap())
    assert result.low < result.difference < result.high
    assert result.layouts == 60 and result.share_above_zero == 1
    assert result == paired_bootstrap(a, b, resamples=200, seed=3)
    zero = paired_bootstrap(a, a, resamples=20)
    assert (zero.low, zero.high) == (0.0, 0.0)


def test_images_of_a_layout_move_together():
    """One layout with all images: every resample is the set itself."""
    results, truth = random_case(2)
    a, b = ApMatches.from_results(results, truth), ApMatches.from_results([], truth)
    layouts = {i: "one" for i in a.image_ids}
    result = paired_bootstrap(a, b, layouts, layouts, resamples=10)
    assert result.low == result.high == pytest.approx(a.ap())
    with pytest.raises(UserError, match="same layouts"):
        paired_bootstrap(a, b, layouts, {i: i for i in b.image_ids}, resamples=10)


def test_percentile_bootstrap_of_a_mean():
    """Resampled means are nearly normal around the sample's, with its standard error."""
    sample = np.random.default_rng(5).normal(3, 2, 200)
    found = percentile_bootstrap(lambda drawn: sample[drawn].mean(), len(sample), 4000, 0.9, seed=1)
    error = sample.std() / np.sqrt(len(sample))
    assert found.values.shape == (4000,)
    np.testing.assert_allclose(
        [found.low, found.high], sample.mean() + 1.645 * error * np.array([-1, 1]), atol=0.03
    )
    again = percentile_bootstrap(lambda drawn: sample[drawn].mean(), len(sample), 4000, 0.9, seed=1)
    assert np.array_equal(found.values, again.values)
