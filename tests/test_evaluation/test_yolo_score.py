"""The YOLO score with a detector that is right by construction: methods, ids and layouts, and the tool."""

import csv
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from square_detector import AREA, draw, evaluate, make

from detdiffusion.evaluation.results import read_result_file
from detdiffusion.utils.errors import UserError


def test_methods_in_one_table(detector, data):
    """Perfect copies under any name and size have the real bound's AP; known faults have known AP."""
    root, coco, cells = data
    half = {i: squares if k % 2 else [] for k, (i, squares) in enumerate(cells.items())}
    swapped = {i: [(x, y, 3 - c) for x, y, c in squares] for i, squares in cells.items()}
    methods = {
        "stem": make(root / "a", cells, lambda i, k: f"COCO_{i:012d}.jpg", (256, 256)),
        "id": make(root / "b", cells, lambda i, k: f"{i}.png"),
        "padded": make(root / "c", cells, lambda i, k: f"{i:012d}.webp", (200, 120)),
        "half": make(root / "d", half, lambda i, k: f"{i}_0.png"),
        "swapped": make(root / "e", swapped, lambda i, k: f"{i}.png"),
        "samples": make(
            make(root / "f", cells, lambda i, k: f"{i}_1.png"), half, lambda i, k: f"{i}_2.png"
        ).parent
        / "f",
    }
    result = evaluate(detector, root, methods)
    sets = result["sets"]
    assert list(sets) == ["real", *methods]
    # filtered: the two squares; full: the red class has a third object an image that nobody can find
    for name in ("real", "stem", "id", "padded"):
        assert sets[name]["filtered_bbox_mAP"] == pytest.approx(1, abs=1e-6), name
        assert sets[name]["bbox_mAP_per_class"] == pytest.approx({"red": 51 / 101, "green": 1}, abs=1e-6)
        assert (sets[name]["layouts"], sets[name]["images"], sets[name]["detections"]) == (6, 6, 12)
    assert sets["half"]["filtered_bbox_mAP"] == pytest.approx(51 / 101)
    assert sets["swapped"]["bbox_mAP"] == 0 and sets["swapped"]["detections"] == 12
    assert (sets["samples"]["images"], sets["samples"]["layouts"]) == (12, 6)
    assert sets["samples"]["filtered_bbox_mAP"] == pytest.approx(76 / 101)  # 9 of 12 found
    protocol = result["protocol"]
    assert (protocol["objects"], protocol["filtered_objects"], protocol["layouts"]) == (18, 12, 6)
    assert protocol["resize"] == "PIL bicubic to 512 x 512, then the detector's own"
    assert result["notes"] == ["1 categories that the detector cannot name are not scored: ghost"]
    first = evaluate(detector, root, {"samples": root / "f"}, samples=1)["sets"]["samples"]
    assert first["filtered_bbox_mAP"] == pytest.approx(1, abs=1e-6) and first["images"] == 6


def test_ids(detector, data):
    root, coco, cells = data
    ids = list(cells)
    make(root / "all", cells, lambda i, k: f"{i}.png")
    make(root / "some", dict(list(cells.items())[:4]), lambda i, k: f"{i}.png")
    methods = {"all": root / "all", "some": root / "some"}
    result = evaluate(detector, root, methods)
    assert [s["layouts"] for s in result["sets"].values()] == [4, 4, 4]
    assert "all: 2 layouts are not in every method's folder and were left out" in result["notes"]
    assert "4 of the annotation file's 6 images are scored" in result["notes"]
    (root / "ids.txt").write_text(f"{ids[1]}\n{ids[0]}\n", encoding="utf-8-sig")
    result = evaluate(detector, root, methods, ids=root / "ids.txt")
    assert result["sets"]["real"]["layouts"] == 2 and "ids.txt" in result["protocol"]["ids"]

    def error_of(content, name="ids.txt", **kwargs):
        (root / name).write_text(content)
        with pytest.raises(UserError) as caught:
            evaluate(detector, root, methods, ids=root / name, **kwargs)
        return str(caught.value)

    assert "some: " in (e := error_of(json.dumps(ids), "ids.json")) and f"2 of 6 layouts have no image, the first "\
        f"ids {ids[4:]}" in e  # fmt: skip
    assert "1 ids are not images of" in error_of("5")
    assert "1 image ids occur twice" in error_of(f"{ids[0]} {ids[0]}")
    assert "whole numbers" in error_of("a b") and "no image ids" in error_of("")
    for wrong in ("139.0", "true", '"139"', "null", "[139]"):
        message = error_of(f"[{ids[0]}, {wrong}]", "ids.json")
        assert f"1 of its 2 entries are not, the first {wrong}" in message
    assert 'the first "139.0"' in error_of(f"{ids[1]} 139.0") and "is an object" in error_of("{}", "ids.json")
    with pytest.raises(UserError, match="`stuff`"):
        evaluate(detector, root, methods, ids="lama")
    with pytest.raises(UserError, match="cannot be read"):
        evaluate(detector, root, methods, ids=root / "none")


def test_lamas_layouts(detector, data):
    """Three to eight objects above 2 % over things and stuff."""
    root, coco, cells = data
    ids = list(cells)
    stuff = dict(images=coco["images"], categories=[dict(id=100, name="sky"), dict(id=101, name="other")])
    stuff["annotations"] = [
        dict(id=1000 + k, image_id=i, category_id=c, bbox=[0.0, 0.0, 100.0, 50.0], area=5000.0, iscrowd=0)
        for k, (i, c) in enumerate(
            [(ids[0], 100), (ids[0], 100), (ids[1], 101), (ids[1], 101), (ids[2], 100)]
        )
    ]
    (root / "stuff.json").write_text(json.dumps(stuff))
    make(root / "all", cells, lambda i, k: f"{i}.png")
    # of the things only the ghost (20 x 20 of 128 x 96 = 3.3 %) is large enough: 1 + 2 of stuff in the first image
    result = evaluate(detector, root, {"all": root / "all"}, ids="lama", stuff=root / "stuff.json")
    assert result["sets"]["real"]["layouts"] == 1 and "images kept: 1" in result["protocol"]["ids"]


def test_bars_and_messages_name_the_set(detector, data, capsys):
    root, coco, cells = data
    make(root / "m", cells, lambda i, k: f"{i}.png")
    evaluate(detector, root, {"m": root / "m"}, progress=True)
    err = capsys.readouterr().err
    assert "detecting real:" in err and "detecting m:" in err
    with pytest.raises(UserError) as caught:
        detector.predict([dict(id=1, file_name="no.png", width=1, height=1)], root, {})
    assert "1 of 1 images are missing (no.png)" in str(caught.value) and "--" not in str(caught.value)


def test_tool(detector, data, repo_root, monkeypatch, capsys):
    root, coco, cells = data
    make(root / "m", cells, lambda i, k: f"{i}.png")
    checkpoint = Path(detector.name).with_suffix(".pth")
    command = [
        "evaluate_yolo_score.py",
        "--detector",
        detector.name,
        str(checkpoint),
        "--device",
        "cpu",
    ]
    command += [
        "--ann",
        str(root / "instances.json"),
        "--img-dir",
        str(root / "real"),
        "--min-area",
        str(AREA),
    ]
    command += ["--synthetic", str(root / "m"), f"again={root / 'm'}", "--out", str(root / "out")]
    monkeypatch.setattr(sys, "argv", command)
    tool = runpy.run_path(str(repo_root / "tools" / "evaluate_yolo_score.py"))

    def main():
        tool["main"](tool["build_parser"]().parse_args())

    main()
    printed = capsys.readouterr().out
    assert "real (bound)" in printed
    assert "threshold 0.25, NMS 0.45" in printed and "18 objects and 0 crowds of 2 classes" in printed
    result = json.loads((root / "out" / "yolo_score.json").read_text())
    assert list(result["sets"]) == ["real", "m", "again"] and result["sets"]["m"] == result["sets"]["again"]
    assert len(result["protocol"]["detector"]["sha256"]) == 64
    assert (root / "out" / "yolo_score.md").is_file() and result["from_cache"] == 1  # again is m
    read = read_result_file(root / "out" / "yolo_score.json")
    assert [one.method for one in read] == ["real", "m", "again"]
    assert {one.dataset for one in read} == {f"{root / 'instances.json'}, 6 layouts"}
    assert read[1].metrics["bbox_mAP"] == result["sets"]["m"]["bbox_mAP"]
    assert read[1].per_class == result["sets"]["m"]["bbox_mAP_per_class"]
    with open(root / "out" / "yolo_score.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["set"] for line in lines] == ["real", "m", "again"]
    assert float(lines[1]["filtered_bbox_mAP"]) == result["sets"]["m"]["filtered_bbox_mAP"]
    assert "| real (bound) | 6 | 6 | 12 |" in (root / "out" / "yolo_score.md").read_text()
    main()  # all three sets from the cache
    second = json.loads((root / "out" / "yolo_score.json").read_text())
    assert second.pop("from_cache") == 3
    environment = dict(os.environ, PYTHONPATH=str(repo_root), OMP_NUM_THREADS="1")
    ranks = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port"]
    ranks += [str(21000 + os.getpid() % 20000), str(repo_root / "tools" / command[0]), *command[1:]]
    done = subprocess.run(
        [*ranks, "--cache", str(root / "other")], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("real (bound)") == 1  # one process talks
    third = json.loads((root / "out" / "yolo_score.json").read_text())
    for other in (second, third):
        for key in ("sets", "methods", "notes", "protocol"):
            assert other[key] == result[key], key
    draw([], (64, 64)).save(
        next((root / "m").iterdir())
    )  # other pixels: nothing stale comes out of the cache
    main()
    other = json.loads((root / "out" / "yolo_score.json").read_text())
    assert other["from_cache"] == 2 and other["sets"]["m"]["detections"] == 10
    for bad in (["--synthetic", "a=x", "a=y"], ["--samples", "0"], ["--min-area", "1"]):
        monkeypatch.setattr(sys, "argv", [*command, *bad])
        with pytest.raises(UserError):
            main()
