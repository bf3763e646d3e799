"""YOLO to COCO: a round trip of real annotations, and every kind of broken input counted and named."""

import json
import runpy
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from detdiffusion.datasets.formats.yolo import read_yolo
from detdiffusion.utils.errors import UserError


def write_image(path, size=(20, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)).save(path)


@pytest.fixture
def yolo(tmp_path):
    """Builder of a set with data.yaml: image -> label text (None: no file)."""

    def build(labels, yaml="names: [cat, dog]\ntrain: images/train\n", split="train"):
        root = tmp_path / "yolo"
        for name, text in labels.items():
            write_image(root / "images" / split / name)
            if text is not None:
                path = (root / "labels" / split / name).with_suffix(".txt")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        (root / "data.yaml").write_text(yaml)
        return root / "data.yaml"

    return build


def test_round_trip_of_real_annotations(shared_dir, tmp_path):
    """COCO boxes and polygons written as YOLO lines come back where they were."""
    coco = COCO(str(shared_dir / "data/coco_cc/instances.json"))
    names = [coco.cats[k]["name"] for k in sorted(coco.cats)]
    index = {k: i for i, k in enumerate(sorted(coco.cats))}
    root, expected = tmp_path / "set", {}
    for number, image in enumerate(list(coco.imgs.values())[:20]):
        own = [a for a in coco.loadAnns(coco.getAnnIds(image["id"])) if not a["iscrowd"]]
        lines = []
        for k, a in enumerate(own):
            x, y, w, h = a["bbox"]
            size = np.array([image["width"], image["height"]])
            if k % 2 and isinstance(a["segmentation"], list) and len(a["segmentation"]) == 1:
                points = (np.array(a["segmentation"][0]).reshape(-1, 2) / size).clip(0, 1).ravel()
                lines.append(" ".join(f"{v:.8f}" for v in (index[a["category_id"]], *points)))
            else:
                box = np.array([x + w / 2, y + h / 2, w, h]) / np.tile(size, 2)
                lines.append(" ".join(f"{v:.8f}" for v in (index[a["category_id"]], *box)))
        name = f"{number:03d}.jpg"
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / "labels").mkdir(exist_ok=True)
        (root / "images" / name).symlink_to(shared_dir / "data/coco_cc/images" / image["file_name"])
        (root / "labels" / name.replace("jpg", "txt")).write_text(
            "\n".join(lines).replace(".00000000 ", " ", 0)
        )
        expected[name] = own
    (root / "names.txt").write_text("\n".join(names))
    found = read_yolo(
        images=root / "images", labels=root / "labels", names=root / "names.txt", decode=False, progress=False
    )
    assert not found.report, found.summary()
    for image in found.images:
        mine = [a for a in found.annotations if a["image_id"] == image["id"]]
        assert len(mine) == len(expected[image["file_name"]])
        for ours, original in zip(mine, expected[image["file_name"]]):
            assert names[ours["category_id"] - 1] == coco.cats[original["category_id"]]["name"]
            # a box of COCO's and the one around its polygon differ by rounding
            np.testing.assert_allclose(ours["bbox"], original["bbox"], atol=2.0)


def test_boxes_polygons_splits_and_background_images(yolo, tmp_path):
    yaml = "path: .\nnames: {0: cat, 1: dog}\ntrain: [images/train]\nval: val.txt\n"
    data = yolo({"a.png": "1 0.5 0.5 0.2 0.4\n0 0 0 0.5 0 0.5 0.5\n", "b.png": "", "c.png": None}, yaml)
    write_image(data.parent / "images/more/d.png")
    (data.parent / "val.txt").write_text("images/more/d.png\n\n./images/train/a.png\n")
    found = read_yolo(data, progress=False)
    assert [a["bbox"] for a in found.annotations[:2]] == [[8, 3, 4, 4], [0, 0, 10, 5]]
    assert found.annotations[1]["segmentation"] == [[0, 0, 10, 0, 10, 5]]
    assert [a["category_id"] for a in found.annotations[:2]] == [2, 1]
    assert {split: len(ids) for split, ids in found.splits.items()} == {"train": 3, "val": 2}
    assert found.report == {
        "image in two splits": 1,
        "image without a label file: used as an image without objects": 2,  # c.png and d.png
    }
    written = found.write(tmp_path / "coco")
    coco = COCO(str(written["val"]))
    assert [i["file_name"] for i in coco.dataset["images"]] == ["val/d.png", "val/a.png"]
    assert all((tmp_path / "coco/images" / i["file_name"]).is_file() for i in coco.dataset["images"])
    assert len(coco.anns) == 2


BAD_LINES = {
    "0 0.5 0.5 0.2": "is not 'class cx cy w h'",
    "0 0.5 0.5 0.2 0.2 0.9": "is not 'class cx cy w h'",  # as a detector's output, with a score
    "cat 0.5 0.5 0.2 0.2": "is not 'class cx cy w h'",
    "0 nan 0.5 0.2 0.2": "is not 'class cx cy w h'",
    "0 12 5 4 4": "outside [0, 1]",
    "0 0.5 -0.5 0.2 0.2": "outside [0, 1]",
    "0 0.5 0.5 0 0.2": "zero or negative size",
    "1 0.5 0.5 0.2 0.2": "duplicate line",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_lines_are_left_out_counted_and_named(line, yolo):
    found = read_yolo(yolo({"a.png": f"1 0.5 0.5 0.2 0.2\n{line}\n"}), progress=False)
    assert len(found.annotations) == 1
    (reason,) = found.report
    assert BAD_LINES[line] in reason and "a.txt, line 2" in found.examples[reason][0]


@pytest.mark.parametrize("label", ["2", "-1", "0.5"])
def test_a_class_number_without_a_name_is_an_error(label, yolo):
    with pytest.raises(UserError, match=r"a.txt, line 1: class .*but there are 2 names \(0 to 1\)"):
        read_yolo(yolo({"a.png": f"{label} 0.5 0.5 0.2 0.2"}), progress=False)


def test_bad_images_and_label_files_are_counted(yolo):
    data = yolo({"a.png": "", "b.png": "", "c.png": "", "e.png": ""})
    folder = data.parent / "images/train"
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:100])
    (folder / "b.png").write_text("not an image")
    (data.parent / "labels/train/c.txt").write_bytes(b"\xff\xfe\x00")
    (folder / "d.heic").write_text("a kind of image that is not read")
    found = read_yolo(data, progress=False)
    assert [image["file_name"] for image in found.images] == ["train/e.png"]
    assert found.report == {
        "image that cannot be read: left out": 2,
        "label file of an image that is left out: left out": 2,
        "label file that is not text: left out, with its image": 2,
        "file of another kind: left out": 1,
        "split without any object": 1,
    }
    assert (
        "d.heic" in found.summary() and "10 files seen = 1 images + 1 label files + 1 comp" in found.summary()
    )


@pytest.mark.parametrize(
    ("yaml", "part"),
    [
        ("names: [cat", "broken yaml"),
        ("train: images/train", "lacks 'names'"),
        ("names: [cat, dog]", "no images are given"),
        ("names: {0: cat, 2: dog}\ntrain: images/train", "must be numbered 0 to 1"),
        ("names: {0: cat, a: dog}\ntrain: images/train", "must be numbered 0 to 1"),
        ("names: [cat, cat]\ntrain: images/train", "the same name twice"),
        ("names: [cat, dog]\ntrain: images/none", "no folder or list"),
        ("names: 3\ntrain: images/train", "'names' must be a list"),
        ("names: !!python/object/apply:os.system [ls]\ntrain: x", "broken yaml"),
    ],
)
def test_bad_yaml_is_one_clear_message(yaml, part, yolo):
    with pytest.raises(UserError, match="data.yaml") as caught:
        read_yolo(yolo({"a.png": ""}, yaml), progress=False)
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_tool(yolo, repo_root, tmp_path, monkeypatch, capsys):
    def run(*args):
        path = str(repo_root / "tools/dataset_converters/yolo_to_coco.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, args)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(path, run_name="__main__")
        return end.value.code or 0, *capsys.readouterr()

    data = yolo({"a.png": "1 0.5 0.5 0.2 0.2\n1 2 3\n"})
    code, out, _ = run(data, "--out", tmp_path / "coco", "--images", "none")
    assert code == 0 and "1 images, 1 objects: cat 0, dog 1" in out and "1 × line that is not" in out
    coco = json.loads((tmp_path / "coco/annotations/train.json").read_text())
    assert coco["annotations"][0]["bbox"] == [8, 4, 4, 2] and not (tmp_path / "coco/images").exists()
    assert run("--out", tmp_path / "coco")[0] == 2
    assert run(data, "--names", "x", "--out", tmp_path / "coco")[0] == 2
    code, _, err = run(tmp_path / "none.yaml", "--out", tmp_path / "coco")
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1
