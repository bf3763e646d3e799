"""Export of COCO sets: a round trip through our own readers, names that stay unique, and messages."""

import json
import runpy
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.formats.any_form import read_set
from detdiffusion.datasets.formats.exports import read_for_export, write_image_folder, write_yolo
from detdiffusion.datasets.formats.yolo import read_yolo
from detdiffusion.datasets.splitting import split_coco
from detdiffusion.utils.errors import UserError


def boxes_of(converted):
    """Image content -> sorted objects with class names."""
    objects = {image["id"]: [] for image in converted.images}
    for a in converted.annotations:
        if not a["iscrowd"]:
            objects[a["image_id"]].append((converted.classes[a["category_id"] - 1], *np.round(a["bbox"], 2)))
    return {converted.sources[key].resolve().name: sorted(value) for key, value in objects.items()}


@pytest.fixture(scope="module")
def real(shared_dir, tmp_path_factory):
    """Real photographs in two splits."""
    folder = tmp_path_factory.mktemp("real")
    split_coco(shared_dir / "data/coco_cc/instances.json", folder)
    return folder


def test_round_trip_to_yolo(real, tmp_path):
    export = read_for_export([str(real)], crowds=False)
    data = yaml.safe_load(write_yolo(export, tmp_path / "yolo").read_text())
    assert data["nc"] == 80 and data["train"] == "images/train" and data["path"] == str(tmp_path / "yolo")
    before = read_set(real, decode=False, progress=False)
    after = read_yolo(tmp_path / "yolo/data.yaml", decode=False, progress=False)
    assert after.classes == before.classes == list(data["names"].values())
    assert {s: len(ids) for s, ids in after.splits.items()} == {
        s: len(ids) for s, ids in before.splits.items()
    }
    expected, found = boxes_of(before), boxes_of(after)
    assert expected.keys() == found.keys()
    for name, objects in expected.items():
        assert [o[0] for o in objects] == [o[0] for o in found[name]]
        difference = np.array([o[1:] for o in objects]) - np.array([o[1:] for o in found[name]])
        assert np.abs(difference).max(initial=0) <= 0.011
    assert export.report["crowd region, which the format cannot express: left out"] == 6


def test_image_folder(real, tmp_path):
    written = write_image_folder(read_for_export([str(real)]), tmp_path / "hf", "copy")
    assert [path.parent.name for path in written] == ["train", "validation"]
    classes = (tmp_path / "hf/classes.txt").read_text().splitlines()
    rows = [json.loads(line) for line in written[0].read_text().splitlines()]
    file = read_coco(real / "annotations/train.json")
    assert sum(len(row["objects"]["bbox"]) for row in rows) == len(file.annotations)
    for row in rows:
        assert Image.open(written[0].parent / row["file_name"]).size == (row["width"], row["height"])
        assert [classes[k] for k in row["objects"]["categories"]] == row["objects"]["names"]
        assert len({len(values) for values in row["objects"].values()}) == 1


def little(folder, names, categories=("cat",)):
    (folder / "images").mkdir(parents=True)
    images = []
    for key, name in enumerate(names, 1):
        path = folder / "images" / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (key, 0, 0)).save(path)
        images.append(dict(id=key, file_name=name, width=8, height=8))
    annotations = [dict(id=i["id"], image_id=i["id"], category_id=1, bbox=[1, 1, 4, 4]) for i in images]
    listed = [dict(id=k, name=name) for k, name in enumerate(categories, 1)]
    (folder / "annotations.json").write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=listed))
    )
    return folder


def test_joined_sets_keep_their_images_apart(tmp_path):
    first = little(tmp_path / "first", ["a.png", "a.bmp", "images/b.png"])
    second = little(tmp_path / "second", ["a.png"])
    export = read_for_export([f"train={first}", f"train={second}/annotations.json", f"val={second}"])
    write_yolo(export, tmp_path / "out", "copy")
    names = sorted(path.name for path in (tmp_path / "out/images/train").iterdir())
    assert names == ["a.png", "a_2.bmp", "a_3.png", "b.png"]
    converted = read_yolo(tmp_path / "out/data.yaml", progress=False)
    assert len(converted.images) == 5 and len(converted.annotations) == 5


def test_messages(tmp_path):
    first, other = little(tmp_path / "first", ["a.png"]), little(tmp_path / "other", ["a.png"], ("dog",))
    with pytest.raises(UserError, match="different classes: .*first lacks 'dog'; .*other lacks 'cat'"):
        read_for_export([str(first), str(other)])
    write_yolo(read_for_export([str(first)]), tmp_path / "out")
    write_yolo(read_for_export([str(first)]), tmp_path / "out")  # again: the same files
    second = little(tmp_path / "second", ["b.png"])
    with pytest.raises(UserError, match="holds 1 files of another set .train/a.png.*`out`"):
        write_yolo(read_for_export([str(second)]), tmp_path / "out")
    split_coco(little(tmp_path / "two", ["a.png", "b.png"]) / "annotations.json", tmp_path / "cut")
    with pytest.raises(UserError, match="SPLIT= is for a set without splits, but .*cut has train, val"):
        read_for_export([f"val={tmp_path / 'cut'}"])


@pytest.mark.parametrize("tool", ["coco_to_yolo", "coco_to_imagefolder", "to_coco"])
def test_tools(repo_root, tmp_path, monkeypatch, capsys, tool):
    source = little(tmp_path / "first", ["a.png"])
    command = [tool, str(source), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(repo_root / f"tools/dataset_converters/{tool}.py"), run_name="__main__")
    output = capsys.readouterr().out
    assert exit_.value.code == 0 and "1 images, 1 objects" in output
    assert ("needs val too" in output) == (tool == "coco_to_yolo")
