"""The YOLO score with a detector that is right by construction, on folders named as methods name them."""

import csv
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from square_detector import draw, write_detector, write_squares

from detdiffusion import apis
from detdiffusion.datasets.image_reading import read_bgr
from detdiffusion.evaluation import yolo_score
from detdiffusion.evaluation.image_folders import note_images, read_folder
from detdiffusion.evaluation.results import read_result_file
from detdiffusion.models.detectors.yolov4.darknet import from_darknet
from detdiffusion.perception.detector import MMDetDetector
from detdiffusion.utils.errors import UserError

AREA = 0.01  # a cell is 1.6 % of an image


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    config, cfg, weights = write_detector(folder)
    (folder / "names").write_text("red\ngreen\n")
    done = from_darknet(cfg, weights, folder / "squares.pth", folder / "names")
    assert done["seen"] == 640 and done["classes"] == 2
    return MMDetDetector(config, folder / "squares.pth", "cpu")


@pytest.fixture
def data(tmp_path):
    coco, cells = write_squares(tmp_path)
    return tmp_path, coco, cells


def make(folder, cells, name, size=(64, 64)):
    folder.mkdir(exist_ok=True)
    for k, (image_id, squares) in enumerate(cells.items()):
        draw(squares, size).save(folder / name(image_id, k))
    return folder


def evaluate(detector, root, methods, **kwargs):
    kwargs = {"min_area_ratio": AREA, "progress": False, **kwargs}
    return yolo_score.evaluate(detector, root / "instances.json", root / "real", methods, **kwargs)


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


def test_modes_are_converted_and_counted(detector, data):
    root, coco, cells = data
    modes = dict(zip(cells, ("RGBA", "CMYK", "P", "RGBA", "RGB", "L")))
    (root / "modes").mkdir()
    for i, mode in modes.items():
        draw(cells[i], (64, 64) if mode != "L" else (96, 64)).convert(mode).save(root / "modes" / f"{i}.tif")
    result = evaluate(detector, root, {"modes": root / "modes"})
    for note in (
        "2 images with transparency put on white",
        "1 CMYK images converted to RGB",
        "1 grayscale images converted to RGB",
        "1 palette images converted to RGB",
    ):
        assert f"modes: {note}" in result["notes"]
    assert "modes: 1 of 6 images have another size than the 64 x 64 of most" in result["notes"]
    # all but the grey one are read as they were
    assert result["sets"]["modes"]["filtered_bbox_mAP"] > 0.75
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    clear.save(root / "clear.png")
    assert (read_bgr(root / "clear.png", size=16) == 255).all()
    blue = Image.new("RGB", (8, 4), (0, 0, 255))
    blue.save(root / "blue.png")
    assert read_bgr(root / "blue.png", size=16)[3, 3].tolist() == [255, 0, 0]  # BGR


def test_bad_folders(detector, data):
    root, coco, cells = data
    (root / "empty").mkdir()

    def read(name):
        return read_folder("x", root / name, coco["images"], coco["categories"], root / "instances.json")

    with pytest.raises(UserError, match="x: .*empty: no images in this folder"):
        read("empty")
    with pytest.raises(UserError, match="no such image folder"):
        read("none")
    draw([], (8, 8)).save(root / "empty" / "sample.png")
    with pytest.raises(
        UserError, match="none of its 1 images belongs .* files are named sample.png, layouts COCO_"
    ):
        read("empty")
    draw([], (8, 8)).save(root / "empty" / "139.png")
    folder = read("empty")
    assert folder.notes == ["x: 1 files belong to no layout and were left out (sample.png)"]
    (root / "empty" / "more").mkdir()
    draw([], (8, 8)).save(root / "empty" / "more" / "146.PNG")
    assert "1 images in subfolders of" in (note := read("empty").notes[0]) and "left out (146.PNG)" in note
    draw([], (8, 8)).save(root / "empty" / "0139.jpg")
    with pytest.raises(UserError, match="0139.jpg and 139.png are both sample 0 of image id 139"):
        read("empty")
    (root / "empty" / "0139.jpg").unlink()
    (root / "empty" / "146.png").write_text("<html>")
    with pytest.raises(UserError, match="146.png: cannot be read as an image"):
        note_images(read("empty"))
    Image.fromarray(np.full((8, 8), 65535, np.uint16)).save(root / "empty" / "146.png")
    folder = read("empty")
    note_images(folder)
    assert "x: 1 16-bit images cut to 8 bit" in folder.notes
    whole = (root / "real" / coco["images"][0]["file_name"]).read_bytes()
    (root / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut.png: is cut off"):
        read_bgr(root / "cut.png", size=64)
    other = make(root / "other", {list(cells)[1]: []}, lambda i, k: f"{i}.png")
    one = make(root / "one", {list(cells)[0]: []}, lambda i, k: f"{i}.png")
    with pytest.raises(UserError, match="no layout in common"):
        evaluate(detector, root, {"a": other, "b": one})
    real = apis.AnnotatedImages(ann=root / "instances.json", img_dir=root / "real")
    with pytest.raises(UserError, match="`synthetic`: no set may be named 'real'"):
        detector = apis.DetectorOptions(detector=("none", "none"))
        apis.score_methods(detector, real, {"real": one}, apis.ResultFolder(out=root / "out"))


def test_two_layouts_with_one_base_name(tmp_path):
    names = {1: "x/a.jpg", 2: "y/a.jpg", 3: "b.jpg", 4: "x\\a_1.png"}
    images = [dict(id=i, file_name=name, width=8, height=8) for i, name in names.items()]

    def read(*files):
        for old in tmp_path.iterdir():
            old.unlink()
        for name in files:
            (tmp_path / name).touch()
        return {
            i: [p.name for p in own]
            for i, own in read_folder("m", tmp_path, images, [], "ann.json").files.items()
        }

    assert read("1.png", "2.png", "b.png") == {1: ["1.png"], 2: ["2.png"], 3: ["b.png"]}
    assert read("a_1.png", "b_1.png") == {3: ["b_1.png"], 4: ["a_1.png"]}  # a layout's own name goes first
    for name in ("a.png", "a_2.png"):
        with pytest.raises(
            UserError, match=rf"m: .*{name} may belong to x/a.jpg, y/a.jpg of ann.json.* by image ids"
        ):
            read("b.png", name)


def test_bad_real_images_and_categories(detector, data):
    root, coco, cells = data
    method = make(root / "m", cells, lambda i, k: f"{i}.png")
    with pytest.raises(UserError, match="real: .*6 of 6 real images are missing"):
        yolo_score.evaluate(detector, root / "instances.json", root / "m", {"m": method})
    name = coco["images"][2]["file_name"]
    draw([], (64, 64)).save(root / "real" / name)
    with pytest.raises(
        UserError, match=f"{name} .*the file has 64 x 64 pixels, but the annotation file says 128 x 96"
    ):
        evaluate(detector, root, {"m": method})
    coco["categories"] = [dict(c, name=f"{c['name']} cell") for c in coco["categories"]]
    (root / "instances.json").write_text(json.dumps(coco))
    with pytest.raises(UserError, match="knows none of the data set's categories"):
        evaluate(detector, root, {"m": method})


def test_folders_of_the_generator(detector, data):
    """Named by nothing but the annotation file beside the images."""
    root, coco, cells = data
    make(root / "set", {}, None)
    make(root / "set" / "images", cells, lambda i, k: f"{900 + k}.png")
    images = [
        dict(id=900 + k, file_name=f"{900 + k}.png", width=64, height=64, source_image_id=i)
        for k, i in enumerate(cells)
    ]
    images.append(dict(id=1, file_name="1.png", width=64, height=64, source_image_id=5))
    content = dict(images=images, annotations=[], categories=coco["categories"])
    (root / "set" / "annotations.json").write_text(json.dumps(content))
    result = evaluate(detector, root, {"hard": root / "set"})
    assert result["sets"]["hard"]["filtered_bbox_mAP"] == pytest.approx(1, abs=1e-6)
    assert "hard: 1 images of other data sets were left out" in result["notes"]
    path = root / "set" / "annotations.json"
    text = path.read_text()
    changed = json.loads(text)
    changed["images"][0]["edits"] = "drop 0.5"
    path.write_text(json.dumps(changed))
    with pytest.raises(UserError, match="layouts were edited"):
        evaluate(detector, root, {"hard": root / "set"})
    changed = json.loads(text)
    changed["images"] += [dict(changed["images"][0], id=77, sample_index=0)]
    changed["images"][0]["sample_index"] = 0
    path.write_text(json.dumps(changed))
    with pytest.raises(
        UserError,
        match=r"images\[7\] \(id 77\): image id 900 has the same file name",
    ):
        evaluate(detector, root, {"hard": root / "set"})
    path.write_text(text)
    (root / "set" / "images" / "901.png").unlink()
    with pytest.raises(UserError, match="1 of 6 images of .* are missing in .*, the first 901.png"):
        evaluate(detector, root, {"hard": root / "set"})


def test_images_beside_their_own_annotations(detector, data):
    """A method's folder may hold a COCO file of its own: the images are read by name, as without it."""
    root, coco, cells = data
    make(root / "m", cells, lambda i, k: f"{i}.png")
    plain = evaluate(detector, root, {"m": root / "m"})
    own = dict(
        images=[dict(id=k, file_name=f"{i}.png", width=64, height=64) for k, i in enumerate(cells)],
        annotations=[],
        categories=[dict(id=77, name="thing")],
    )
    for content in (own, [1, 2]):
        (root / "m" / "annotations.json").write_text(json.dumps(content))
        result = evaluate(detector, root, {"m": root / "m"})
        assert result["sets"] == plain["sets"]
        assert (
            "m: its annotations.json names no layouts; the images were read by their file names"
            in result["notes"]
        )


@pytest.mark.parametrize("key", ["source_image_id", "sample_index"])
@pytest.mark.parametrize("value", [[1], "1", 1.5, True])
def test_layouts_and_samples_are_whole_numbers(data, key, value):
    root, coco, cells = data
    make(root / "set", {}, None)
    make(root / "set" / "images", cells, lambda i, k: f"{900 + k}.png")
    images = [
        dict(id=900 + k, file_name=f"{900 + k}.png", width=64, height=64, source_image_id=i, sample_index=0)
        for k, i in enumerate(cells)
    ]
    images[1][key] = value
    (root / "set" / "annotations.json").write_text(
        json.dumps(dict(images=images, annotations=[], categories=coco["categories"]))
    )
    with pytest.raises(UserError, match=f"image 901: {key} must be a whole number"):
        read_folder("x", root / "set", coco["images"], coco["categories"], root / "instances.json")


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
