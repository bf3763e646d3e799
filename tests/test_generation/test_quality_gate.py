"""The quality gate: verdicts against scenes with a known answer and an optimal assignment; rules; the command."""

import contextlib
import io
import json
import runpy
import sys

import numpy as np
import pytest
import torch
from option_values import quality_gate
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_iou

from detdiffusion.generation.gate_options import GateRules
from detdiffusion.generation.quality_gate import apply_rules, judge, sample_scores, samples_to_draw
from detdiffusion.perception.matching import one_to_one
from detdiffusion.perception.predictions import Predictions
from detdiffusion.utils.errors import UserError

CATEGORIES = [dict(id=i, name=n, supercategory="thing") for i, n in ((3, "ball"), (5, "tent"), (9, "sky"))]


def scene():
    """Image 1: a kept and a moved ball, a missed tent, the sky. Image 2: all kept. Image 3: nothing judged."""
    images = [
        dict(id=i, file_name=f"{i}.png", width=100, height=80, strategy="hard", source_image_id=7 + i)
        for i in (1, 2, 3)
    ]
    boxes = [
        (1, 3, [10, 10, 20, 20]),
        (1, 3, [60, 10, 20, 20]),
        (1, 5, [10, 50, 20, 20]),
        (1, 9, [0, 0, 100, 40]),
        (2, 3, [10, 10, 40, 40]),
        (3, 9, [0, 0, 100, 40]),
    ]
    annotations = [
        dict(id=k, image_id=i, category_id=c, bbox=b, area=b[2] * b[3], iscrowd=0, attribute="hard")
        for k, (i, c, b) in enumerate(boxes, 1)
    ]
    return dict(info={}, images=images, annotations=annotations, categories=CATEGORIES)


RESULTS = [
    (1, 3, [11, 11, 20, 20], 0.9),  # IoU .82 with object 1
    (1, 3, [70, 10, 20, 20], 0.6),  # IoU 1/3 with object 2
    (1, 5, [10, 50, 20, 20], 0.2),  # on the tent, but not confident
    (1, 3, [10, 50, 20, 20], 0.9),  # on the tent, but a ball: extra
    (2, 3, [10, 12, 40, 40], 0.8),
    (2, 3, [12, 10, 40, 40], 0.95),  # a second detection of the same ball: extra
]


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


@pytest.fixture
def on_disk(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/annotations.json").write_text(json.dumps(scene()))
    rows = [dict(image_id=i, category_id=c, bbox=b, score=s) for i, c, b, s in RESULTS]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    return tmp_path


def test_the_command(on_disk, repo_root, monkeypatch, capsys):
    before = (on_disk / "set/annotations.json").read_bytes()
    tool, out = str(repo_root / "tools/quality_gate.py"), on_disk / "set/annotations_gated.json"
    arguments = ["set", "--predictions", "results.json", "--out", str(out), "--missed", "ignore"]
    monkeypatch.chdir(on_disk)
    monkeypatch.setattr(sys, "argv", [tool, *arguments, "--min-found", "0.3", "--draw-up-to", "4"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(tool, run_name="__main__")
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "1 × objects turned into ignored regions: missed" in said and "unjudged" in said
    report = json.loads(out.with_suffix(".report.json").read_text())
    assert report["all"] == dict(kept=2, moved=1, missed=1, unjudged=2, extra=2)
    assert report["by_class"]["ball"] == dict(kept=2, moved=1, missed=0, unjudged=0, extra=2)
    assert report["by_attribute"]["hard"]["missed"] == 1 and report["settings"]["missed"] == "ignore"
    counts = json.loads(out.with_suffix(".samples.json").read_text())
    assert counts == {"8": 4, "9": 1}  # of two judged layouts, that of image 1 is found worse
    coco = COCO(out)
    assert coco.dataset["info"]["quality_gate"]["min_found"] == 0.3 and len(coco.getAnnIds(iscrowd=True)) == 1
    assert (on_disk / "set/annotations.json").read_bytes() == before


def test_what_was_left_out_is_printed(on_disk, capsys):
    """Detections of other images, and boxes of the set that are none."""
    rows = json.loads((on_disk / "results.json").read_text())
    (on_disk / "results.json").write_text(json.dumps([*rows, {**rows[0], "image_id": 999}]))
    coco = json.loads((on_disk / "set/annotations.json").read_text())
    coco["annotations"][0]["bbox"] = [0, 0, 0, 9]
    (on_disk / "set/annotations.json").write_text(json.dumps(coco))
    quality_gate(on_disk / "set", on_disk / "out.json", predictions=on_disk / "results.json")
    said = capsys.readouterr().out
    assert "1 × predictions on images that the annotation files lack: left out" in said
    assert "1 × box of zero or negative size: skipped" in said


def test_a_detector_reads_the_images(tmp_path, repo_root, monkeypatch, capsys):
    """An mmdet detector with fresh weights finds nothing with confidence: every thing is missed, stuff unjudged."""
    from detdiffusion.datasets.miniscenes import write_miniscenes
    from detdiffusion.utils import compat

    compat.setup()
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config

    register_all_modules(init_default_scope=True)
    monkeypatch.chdir(repo_root)
    write_miniscenes(tmp_path, "train", 3, size=64, seed=0)
    folder = tmp_path / "train"
    things, stuff = (json.loads((folder / f"{kind}.json").read_text()) for kind in ("instances", "stuff"))
    for key in ("annotations", "categories"):
        things[key] += stuff[key]
    (folder / "annotations.json").write_text(json.dumps(things))
    config = "configs/detectors/atss_miniscenes.py"
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    model.init_weights()  # class scores begin near 0.01
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / "fresh.pth")
    out = folder / "judged.json"
    judged_by = dict(detector=(config, tmp_path / "fresh.pth"), device="cpu")
    real = folder / "instances.json"  # the same scenes, without stuff; their images are beside it
    report = quality_gate(folder, out, **judged_by, real_ann=real)
    assert report["compared"] and all(row["set_ap"] == row["real_ap"] for row in report["compared"].values())
    assert all(row["set_loss"] == row["real_loss"] for row in report["compared"].values())
    crowds = sum(a["iscrowd"] for a in things["annotations"])
    assert report["all"]["unjudged"] == len(stuff["annotations"]) + crowds
    assert report["all"]["missed"] == len(things["annotations"]) - report["all"]["unjudged"] > 0
    assert report["all"]["extra"] == 0 and "nothing: no rule was given" in capsys.readouterr().out


@pytest.fixture
def real(on_disk):
    """Real images with other category ids: all balls found exactly, of two tents one, loosely."""
    categories = [dict(id=i, name=n) for i, n in ((1, "tent"), (2, "ball"))]
    boxes = [(1, 2, [10, 10, 20, 20]), (1, 1, [50, 10, 20, 20]), (2, 1, [10, 10, 20, 20])]
    annotations = [
        dict(id=k, image_id=i, category_id=c, bbox=b, area=400, iscrowd=0)
        for k, (i, c, b) in enumerate(boxes, 1)
    ]
    images = [dict(id=i, file_name=f"{i}.png", width=100, height=80) for i in (1, 2)]
    found = [(1, 2, [10, 10, 20, 20], 0.9), (1, 1, [50, 14, 20, 20], 0.6)]
    rows = [dict(image_id=i, category_id=c, bbox=b, score=s) for i, c, b, s in found]
    (on_disk / "real.json").write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )
    (on_disk / "real_results.json").write_text(json.dumps(rows))
    return dict(
        predictions=on_disk / "results.json",
        real_ann=on_disk / "real.json",
        real_predictions=on_disk / "real_results.json",
    )


def average_precision(ann, results, category):
    """pycocotools' AP of one class."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(ann))
        evaluator = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        evaluator.params.catIds = [category]
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats[0]


def test_classes_and_losses_beside_real_images(on_disk, real, capsys):
    folder, out = on_disk / "set", on_disk / "gated.json"
    report = quality_gate(folder, out, **real, min_class_ap=0.6, max_loss=4.0)
    ball, tent = report["compared"]["ball"], report["compared"]["tent"]
    for row, ours, theirs in ((ball, 3, 2), (tent, 5, 1)):
        assert row["set_ap"] == pytest.approx(
            average_precision(folder / "annotations.json", on_disk / "results.json", ours), abs=1e-4
        )
        assert row["real_ap"] == pytest.approx(
            average_precision(on_disk / "real.json", on_disk / "real_results.json", theirs), abs=1e-4
        )
    assert ball["real_ap"] == 1 and ball["refused"] == "yes"  # detections of the set are loose
    assert ball["ap_share"] == ball["set_ap"] < 0.6 < tent["ap_share"] and tent["refused"] == "no"
    assert tent["real_loss"] == pytest.approx(-np.log(0.6 * 16 / 24), abs=1e-4)  # of two, the finite one
    assert tent["set_loss"] == pytest.approx(-np.log(0.2), abs=1e-4)  # scores below the threshold count too
    assert ball["real_loss"] == pytest.approx(-np.log(0.9), abs=1e-4)
    assert report["done"] == {"objects turned into ignored regions: class refused": 3}
    assert "AP real" in capsys.readouterr().out
    written = json.loads(out.read_text())
    assert written["info"]["quality_gate"]["min_class_ap"] == 0.6
    assert {a["id"] for a in written["annotations"] if a["iscrowd"]} == {1, 2, 5}

    report = quality_gate(
        folder, out, **real, max_loss=4.0
    )  # 4 · 0.105 = 0.42; the balls: 0.30, 1.61 and 0.15
    assert report["done"] == {"objects turned into ignored regions: loss too high": 1}
    assert {a["id"] for a in json.loads(out.read_text())["annotations"] if a["iscrowd"]} == {2}
    report = quality_gate(folder, out, **real, max_loss=1.7)  # 1.7 · 0.92 = 1.56 is below the tent's 1.61
    assert {a["id"] for a in json.loads(out.read_text())["annotations"] if a["iscrowd"]} == {1, 2, 3}


def test_a_class_without_real_objects_is_not_compared(on_disk, real):
    coco = json.loads((on_disk / "real.json").read_text())
    coco["annotations"] = coco["annotations"][1:]
    (on_disk / "real.json").write_text(json.dumps(coco))
    report = quality_gate(on_disk / "set", on_disk / "gated.json", **real, min_class_ap=9, max_loss=0)
    ball = report["compared"]["ball"]
    assert (ball["real_ap"], ball["real_loss"], ball["ap_share"], ball["refused"]) == ("-", "-", "-", "no")
    assert report["compared"]["tent"]["refused"] == "yes"
    assert report["done"] == {"objects turned into ignored regions: class refused": 1}


def test_rules_without_their_real_images(on_disk, real):
    folder, out = on_disk / "set", on_disk / "gated.json"
    with pytest.raises(UserError, match="`min_class_ap` and `max_loss` compare with real images"):
        quality_gate(folder, out, predictions=real["predictions"], max_loss=3)
    with pytest.raises(UserError, match="judged by the same detector"):
        quality_gate(folder, out, predictions=real["predictions"], real_ann=real["real_ann"], max_loss=3)
    with pytest.raises(UserError, match="`real_img_dir` requires `real_ann`"):
        quality_gate(folder, out, predictions=real["predictions"], real_img_dir=on_disk)
    with pytest.raises(UserError, match="3 show a refused class, 0 are below"):
        coco = json.loads((folder / "annotations.json").read_text())
        coco["annotations"][-1].update(category_id=5)  # a tent that is not found
        (folder / "annotations.json").write_text(json.dumps(coco))
        quality_gate(folder, out, **real, min_class_ap=9, refused="drop")
    seen_by = dict(detector=("none.py", "none.pth"), real_ann=real["real_ann"])  # is not loaded
    with pytest.raises(UserError, match="no such folder; specify the folder of the images by `real_img_dir`"):
        quality_gate(folder, out, **seen_by, real_img_dir=on_disk / "nowhere")
    with pytest.raises(UserError, match="2 of 2 images are missing"):
        quality_gate(folder, out, **seen_by, real_img_dir=on_disk)
    assert not out.exists()


def keep_results(path, category):
    path.write_text(
        json.dumps([row for row in json.loads(path.read_text()) if row["category_id"] == category])
    )


def test_a_class_of_which_nothing_is_found_in_the_set_is_refused(on_disk, real):
    keep_results(on_disk / "results.json", 3)  # no tent
    report = quality_gate(on_disk / "set", on_disk / "gated.json", **real, min_class_ap=0.2)
    tent = report["compared"]["tent"]
    assert (tent["set_ap"], tent["set_loss"], tent["refused"]) == (0, "infinite", "yes")
    assert report["by_class"]["tent"]["missed"] == 1
    assert report["done"] == {"objects turned into ignored regions: class refused": 1}
    keep_results(on_disk / "real_results.json", 2)  # nor one in the real images
    report = quality_gate(on_disk / "set", on_disk / "gated.json", **real, min_class_ap=0.2)
    assert "tent" not in report["compared"] and report["by_class"]["tent"]["unjudged"] == 1


def test_the_real_images_may_have_other_classes_than_the_detector(on_disk, real):
    folder, out, known = (
        on_disk / "set",
        on_disk / "gated.json",
        dict(detector_classes=["ball", "tent", "sky"]),
    )
    report = quality_gate(folder, out, **real, **known, min_class_ap=0.1)  # the real file has no sky
    assert report["compared"]["sky"]["real_ap"] == "-" and report["compared"]["tent"]["real_ap"] > 0
    coco = json.loads((on_disk / "real.json").read_text())
    coco["categories"][0]["name"] = "kite"  # unknown to the set, and predicted
    (on_disk / "real.json").write_text(json.dumps(coco))
    report = quality_gate(folder, out, **real, **known, min_class_ap=0.1)
    assert report["compared"]["tent"]["real_ap"] == "-" and report["compared"]["ball"]["real_ap"] == 1
    coco["categories"][1]["name"] = "globe"
    (on_disk / "real.json").write_text(json.dumps(coco))
    with pytest.raises(UserError, match="`detector_classes`: none of them .* is a category of .*real.json"):
        quality_gate(folder, out, **real, **known)


def test_rules_need_a_class_to_compare(on_disk, real, capsys):
    folder, out = on_disk / "set", on_disk / "gated.json"
    whole = json.loads((on_disk / "real.json").read_text())
    renamed = [dict(category, name=category["name"].upper()) for category in whole["categories"]]
    for change, shown in ((dict(categories=renamed), "TENT, BALL"), (dict(annotations=[]), "no class")):
        (on_disk / "real.json").write_text(json.dumps({**whole, **change}))
        for rule in ("min_class_ap", "max_loss"):
            message = (
                f"real.json: `{rule}` can compare no class: the real images show {shown}, the set ball, tent"
            )
            with pytest.raises(UserError, match=message):
                quality_gate(folder, out, **real, **{rule: 0.5})
        assert not out.exists()
    quality_gate(folder, out, **real)
    assert "nothing: no rule was given" in capsys.readouterr().out
    (on_disk / "real.json").write_text(json.dumps(whole))
    quality_gate(folder, out, **real, min_class_ap=0)
    assert "nothing: the rules match no object or image" in capsys.readouterr().out


def test_bad_input(on_disk):
    folder, results = on_disk / "set", on_disk / "results.json"
    with pytest.raises(UserError, match="would overwrite an input file"):
        quality_gate(folder, folder / "annotations.json", predictions=results)
    with pytest.raises(UserError, match="`out` must be a .json file"):
        quality_gate(folder, folder, predictions=results)
    with pytest.raises(UserError, match="`moved_iou` must be above 0 and at most `iou_thr`"):
        quality_gate(folder, on_disk / "x.json", predictions=results, moved_iou=0.6)
    with pytest.raises(UserError, match="no such COCO json"):
        quality_gate(on_disk / "none", on_disk / "x.json", predictions=results)
    with pytest.raises(UserError, match="images are missing, the first .*run tools/generate.py again"):
        quality_gate(folder, on_disk / "x.json", detector=("none.py", "none.pth"))
    scene_without_sky = scene()
    scene_without_sky["images"] = scene_without_sky["images"][:1]
    scene_without_sky["annotations"] = scene_without_sky["annotations"][:4]
    (folder / "annotations.json").write_text(json.dumps(scene_without_sky))
    with pytest.raises(UserError, match="no image is left: all 1 are below `min_found` 1.0"):
        quality_gate(folder, on_disk / "x.json", predictions=results, min_found=1.0)
    del scene_without_sky["images"][0]["source_image_id"]
    (folder / "annotations.json").write_text(json.dumps(scene_without_sky))
    for option in ("best_samples", "draw_up_to"):
        message = f"annotations.json: image 1 has no source_image_id.*leave out `{option}`"
        with pytest.raises(UserError, match=message):
            quality_gate(folder, on_disk / "x.json", predictions=results, **{option: 2})
    assert not (on_disk / "x.json").exists()
