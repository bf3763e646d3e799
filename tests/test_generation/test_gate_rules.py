"""The quality gate's verdicts against scenes with a known answer and an optimal assignment, and its rules."""

import numpy as np
import pytest
import torch
from gate_scene import CATEGORIES, RESULTS, scene
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_iou

from detdiffusion.generation.gate_options import GateRules
from detdiffusion.generation.quality_gate import apply_rules, judge, sample_scores, samples_to_draw
from detdiffusion.perception.matching import one_to_one
from detdiffusion.perception.predictions import Predictions
from detdiffusion.utils.errors import UserError


def predictions(rows=RESULTS):
    boxes = np.array([box for _, _, box, _ in rows], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    images, categories, _, scores = zip(*rows)
    return Predictions(np.array(images), np.array(categories), boxes, np.array(scores))


def verdicts(coco, rows=RESULTS, **kwargs):
    findings, extras = judge(coco["images"], coco["annotations"], predictions(rows), {3, 5}, **kwargs)
    return findings, extras


def test_verdicts_of_a_known_scene():
    findings, extras = verdicts(scene())
    assert {k: f.verdict for k, f in findings.items()} == {
        1: "kept",
        2: "moved",
        3: "missed",
        4: "unjudged",
        5: "kept",
        6: "unjudged",
    }
    assert findings[1].iou == pytest.approx(19 * 19 / (800 - 19 * 19)) and findings[1].score == 0.9
    assert findings[2].iou == pytest.approx(1 / 3) and findings[3].box is None
    assert [(e.image_id, e.category_id, e.box[:2]) for e in extras] == [(1, 3, (10, 50)), (2, 3, (12, 10))]
    assert verdicts(scene(), score_thr=0.1)[0][3].verdict == "kept"
    assert verdicts(scene(), iou_thr=0.3)[0][2].verdict == "kept"
    assert verdicts(scene(), moved_iou=0.4)[0][2].verdict == "missed"


def test_ignored_regions_and_unprompted_objects_explain_detections():
    coco = scene()
    coco["images"][0]["not_prompted"] = [dict(category_id=3, bbox=[10, 50, 20, 20], source_annotation_id=8)]
    crowd = dict(id=7, image_id=2, category_id=3, bbox=[10, 10, 41, 41], area=1681, iscrowd=1)
    coco["annotations"].append(crowd)
    findings, extras = verdicts(coco)
    assert extras == [] and findings[7].verdict == "unjudged" and findings[5].verdict == "kept"


def test_matching_is_one_to_one_and_nearly_optimal():
    """Against Hungarian matching on many random images: never double, equal classes, the total IoU near the best."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (600, 2))
    truth = np.concatenate([corner, corner + rng.uniform(15, 40, (600, 2))], axis=1)
    found = truth[:500] + rng.normal(0, 4, (500, 4))
    images, labels = rng.integers(0, 80, 600), rng.integers(0, 3, 600)
    order = rng.permutation(500)
    match, overlap = one_to_one(
        truth, images, labels, found[order], images[:500][order], labels[:500][order], min_iou=0.1
    )
    used = match[match >= 0]
    assert len(set(used.tolist())) == len(used)
    total = best = 0.0
    for image in range(80):
        for label in range(3):
            gt = np.flatnonzero((images == image) & (labels == label))
            pred = np.flatnonzero((images[:500][order] == image) & (labels[:500][order] == label))
            if not len(gt) or not len(pred):
                assert (match[gt] < 0).all()
                continue
            iou = box_iou(torch.tensor(truth[gt]), torch.tensor(found[order][pred])).numpy()
            iou[iou < 0.1] = 0
            rows, columns = linear_sum_assignment(-iou)
            best += iou[rows, columns].sum()
            total += overlap[gt].sum()
            assert set(match[gt][match[gt] >= 0]) <= set(pred.tolist())
    assert 0.98 * best <= total <= best + 1e-9


def gate(rules, coco=None):
    coco = coco or scene()
    findings, extras = verdicts(coco)
    new, done = apply_rules(coco, findings, extras, rules)
    return new, done, {a["id"]: a for a in new["annotations"]}


def test_without_rules_only_fields_are_added():
    source = scene()
    new, done, by_id = gate(GateRules(), source)
    assert source == scene() and not any(done.values())
    for annotation in source["annotations"]:
        assert annotation.items() <= by_id[annotation["id"]].items()
    assert by_id[2]["quality"] == "moved" and by_id[2]["detection_score"] == 0.6
    assert len(new["images"]) == 3


def test_rules():
    new, done, by_id = gate(GateRules(min_found=0.5))
    assert [i["id"] for i in new["images"]] == [2, 3] and done["objects dropped with their image"] == 4
    new, done, by_id = gate(GateRules(min_found=1 / 3, missed="ignore", moved="drop", extra="ignore"))
    assert len(new["images"]) == 3 and by_id[3]["iscrowd"] == 1 and 2 not in by_id
    regions = [a for a in new["annotations"] if a["quality"] == "extra"]
    assert [r["bbox"] for r in regions] == [[10, 50, 20, 20], [12, 10, 40, 40]]
    assert all(r["iscrowd"] == 1 for r in regions) and len({a["id"] for a in new["annotations"]}) == 7
    assert done == {
        "images dropped: too few objects found": 0,
        "objects turned into ignored regions: missed": 1,
        "objects dropped: moved": 1,
        "ignored regions added: extra": 2,
    }


def test_refinement():
    _, done, by_id = gate(GateRules(refine=0.5, refine_score=0.7, moved="ignore"))
    assert by_id[1]["bbox"] == [10.5, 10.5, 20, 20] and by_id[1]["prompted_bbox"] == [10, 10, 20, 20]
    assert by_id[1]["area"] == 400 and by_id[2]["iscrowd"] == 1  # a score of .6 moves no box
    assert done["boxes refined: kept"] == 2
    new, done, by_id = gate(GateRules(refine=1.0, refine_score=0.5, moved="drop", min_found=0.6))
    assert by_id[2]["bbox"] == [70, 10, 20, 20] and len(new["images"]) == 3  # refined, so found


def test_objects_of_refused_classes_and_with_a_high_loss():
    coco = scene()
    coco["annotations"].append(
        dict(id=7, image_id=2, category_id=5, bbox=[60, 50, 20, 20], area=400, iscrowd=1)
    )
    findings, extras = verdicts(coco)

    def apply(rules, **left_out):
        new, done = apply_rules(coco, findings, extras, rules, **left_out)
        counts = {reason: number for reason, number in done.items() if number}
        return {i["id"] for i in new["images"]}, {a["id"] for a in new["annotations"] if a["iscrowd"]}, counts

    images, ignored, counts = apply(GateRules(missed="ignore"), refused={3}, high_loss={1, 3})
    assert images == {1, 2, 3} and ignored == {1, 2, 3, 5, 7}
    assert counts == {
        "objects turned into ignored regions: missed": 1,
        "objects turned into ignored regions: class refused": 3,
    }
    _, ignored, counts = apply(GateRules(), high_loss={2, 5})
    assert ignored == {2, 5, 7} and counts == {"objects turned into ignored regions: loss too high": 2}
    rules = GateRules(refused="drop", min_class_ap=0.5)
    images, ignored, counts = apply(rules, refused={5})  # image 2 has an ignored one alone
    assert images == {2, 3} and counts["images dropped: an object of a refused class"] == 1
    assert "objects turned into ignored regions: class refused" not in counts


def test_the_best_samples_of_each_source_image():
    """Three samples of one source image, the last one without its tent; a second source image has one sample."""
    images = [
        dict(id=i, file_name=f"{i}.png", width=100, height=80, source_image_id=s, sample_index=k)
        for i, s, k in ((1, 50, 0), (2, 50, 1), (3, 50, 2), (4, 60, 0))
    ]
    things = [
        dict(id=10 * i + c, image_id=i, category_id=c, bbox=[10 * c, 10, 20, 20], area=400, iscrowd=0)
        for i in (1, 2, 3, 4)
        for c in (3, 5)
    ]
    coco = dict(info={}, images=images, annotations=things, categories=CATEGORIES)
    good = [(i, c, [10 * c, 10, 20, 20], 0.8) for i in (1, 2, 3) for c in (3, 5)][:-1]
    findings, extras = verdicts(coco, [*good, (1, 3, [70, 50, 20, 20], 0.9)])
    assert sample_scores(things, findings, extras) == pytest.approx({1: 1.6 / 3, 2: 0.8, 3: 0.4, 4: 0})

    def kept(number, **rules):
        new, done = apply_rules(coco, findings, extras, GateRules(best_samples=number, **rules))
        assert (
            done["images dropped: not among the best samples"]
            == 4 - len(new["images"]) - (done["images dropped: too few objects found"])
        )
        return [image["id"] for image in new["images"]]

    assert kept(1) == [2, 4] and kept(2) == [1, 2, 4] and kept(9) == [1, 2, 3, 4]
    assert kept(1, min_found=0.1) == [2]  # nothing of image 4 is found
    findings, extras = verdicts(coco, good[:4])
    assert kept(1) == [1, 4]  # as good as image 2, and before it
    del images[0]["source_image_id"]
    with pytest.raises(UserError, match="image 1 has no source_image_id"):
        kept(1)


def test_more_images_of_what_is_found_worse():
    images = [dict(id=i, source_image_id=100 + i // 2) for i in range(20)]  # two samples of ten source images
    scores = {
        i: 1 - (i // 2) / 10 + (0.3 if i % 2 else -0.3) for i in range(18)
    }  # the last one is not judged
    assert samples_to_draw(images, scores, 3) == {
        **dict.fromkeys((100, 101, 102), 1),
        **dict.fromkeys((103, 104, 105), 2),
        **dict.fromkeys((106, 107, 108), 3),
    }
    counts = samples_to_draw(images, scores, 20)
    assert list(counts.values()) == sorted(counts.values()) and counts[100] == 1 and counts[108] == 20
    assert set(samples_to_draw(images, scores, 1).values()) == {1}
    assert samples_to_draw(images[:4], scores, 20) == {100: 1, 101: 20}  # fewer layouts than numbers
    assert samples_to_draw(images[:2], scores, 20) == {100: 1}


def test_bad_rules():
    with pytest.raises(UserError, match="`min_found` must be at least 0 and at most 1, it is 2"):
        GateRules(min_found=2)
    with pytest.raises(UserError, match="`missed` must be one of keep, ignore, drop"):
        GateRules(missed="hide")
    with pytest.raises(UserError, match="`refused` 'drop' requires `min_class_ap`"):
        GateRules(refused="drop")
