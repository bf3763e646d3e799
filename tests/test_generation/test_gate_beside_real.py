"""The quality gate beside real images: classes and losses compared, and what cannot be."""

import contextlib
import io
import json

import numpy as np
import pytest
from option_values import quality_gate
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detdiffusion.utils.errors import UserError


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
