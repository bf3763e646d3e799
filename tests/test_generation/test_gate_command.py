"""The quality gate as a command: a set and its predictions on the disk, a detector that reads, bad input."""

import json
import runpy
import sys

import pytest
import torch
from gate_scene import scene
from option_values import quality_gate
from pycocotools.coco import COCO

from detdiffusion.utils.errors import UserError


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
