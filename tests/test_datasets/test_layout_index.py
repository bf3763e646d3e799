"""The index beside annotation files: the same layouts, found again, and never used for other files or filters."""

import json
import os
import pickle

import numpy as np
import pytest
from pycocotools.coco import COCO

from detdiffusion.datasets import LayoutCocoDataset, layout_coco
from detdiffusion.datasets.json_files import load_with_spans
from detdiffusion.datasets.miniscenes import write_miniscenes
from detdiffusion.utils.errors import UserError


@pytest.fixture
def scenes(tmp_path, monkeypatch):
    """A small set that counts as large, and a cache folder of its own."""
    monkeypatch.setattr(layout_coco, "MIN_BYTES", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_miniscenes(tmp_path / "data", "train", 30, size=64)


def load(folder, **options):
    return LayoutCocoDataset(["instances.json", "stuff.json"], "images", folder, **options)


def same(a, b):
    assert len(a) == len(b) and dict(a.report) == dict(b.report) and a.classes == b.classes
    for x, y in zip(a.layouts, b.layouts):
        assert (x.names, x.ids, x.category_ids, x.labels.tolist()) == (
            y.names,
            y.ids,
            y.category_ids,
            y.labels.tolist(),
        )
        assert (x.image_id, x.file_name, x.width, x.height) == (y.image_id, y.file_name, y.width, y.height)
        assert x.boxes.equal(y.boxes)
    assert all(a[i]["segmentations"] == b[i]["segmentations"] for i in range(len(a)))


def test_layouts_are_those_of_pycocotools_under_lamas_filter(scenes):
    """The filter by hand on pycocotools' annotations, segmentations included."""
    data = load(scenes)
    oracles = [COCO(str(scenes / name)) for name in ("instances.json", "stuff.json")]
    expected = {}
    for image in oracles[0].dataset["images"]:
        found = []
        for oracle in oracles:
            for a in oracle.loadAnns(oracle.getAnnIds(image["id"], iscrowd=False)):
                x, y, w, h = a["bbox"]
                name = oracle.cats[a["category_id"]]["name"]
                if w * h > 0.02 * image["width"] * image["height"] and name != "other":
                    found.append(a)
        if 3 <= len(found) <= 8:
            expected[image["id"]] = found
    assert [layout.image_id for layout in data.layouts] == list(expected)
    for i, (layout, found) in enumerate(zip(data.layouts, expected.values())):
        assert layout.ids == [a["id"] for a in found]
        assert data[i]["segmentations"] == [a["segmentation"] for a in found]
        boxes = np.array([a["bbox"] for a in found]) / 64
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(layout.boxes.numpy(), boxes, atol=1e-6)
    report = data.report
    dropped = [v for k, v in report.items() if k.startswith(("crowds", "objects up", "objects of"))]
    assert report["objects kept"] + sum(dropped) == sum(len(o.anns) for o in oracles)


def test_things_alone(scenes):
    data = LayoutCocoDataset("instances.json", "images", scenes, filter_cfg=dict(min_objects=1))
    things = {c["name"] for c in json.loads((scenes / "instances.json").read_text())["categories"]}
    assert set(data.classes) == things and all(set(layout.names) <= things for layout in data.layouts)


def test_the_second_start_reads_the_index(scenes, monkeypatch):
    plain = load(scenes, cache_index=False)
    assert not (scenes / ".layout_index").exists()
    first = load(scenes)
    assert len(list((scenes / ".layout_index").glob("*.npz"))) == 1
    monkeypatch.setattr(layout_coco, "read_coco", lambda *a, **k: pytest.fail("the json was read again"))
    second = load(scenes)
    same(plain, first)
    same(first, second)
    same(second, pickle.loads(pickle.dumps(second)))  # as spawned workers get it


def test_another_filter_or_file_is_another_index(scenes):
    first = load(scenes)
    strict = load(scenes, filter_cfg=dict(min_objects=5))
    assert 0 < len(strict) < len(first)
    data = json.loads((scenes / "stuff.json").read_text())
    data["annotations"].pop()
    stat = (scenes / "stuff.json").stat()
    (scenes / "stuff.json").write_text(json.dumps(data))
    os.utime(scenes / "stuff.json", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert sum(map(len, load(scenes).layouts)) == sum(map(len, first.layouts)) - 1
    assert len(list((scenes / ".layout_index").glob("*.npz"))) == 3


def test_a_damaged_index_is_made_anew(scenes):
    first = load(scenes)
    (file,) = (scenes / ".layout_index").glob("*.npz")
    for content in (b"", file.read_bytes()[:500]):
        file.write_bytes(content)
        same(load(scenes), first)


def test_a_folder_that_cannot_be_written(scenes, tmp_path, caplog):
    (scenes / ".layout_index").write_text("a file in the folder's place")
    first = load(scenes)
    assert list((tmp_path / "cache/detdiffusion/layout_index").glob("*.npz"))
    same(load(scenes), first)
    for path in (tmp_path / "cache/detdiffusion/layout_index").iterdir():
        path.unlink()
    (tmp_path / "cache/detdiffusion/layout_index").rmdir()
    (tmp_path / "cache/detdiffusion/layout_index").write_text("")
    same(load(scenes), first)  # no place at all: the json is read, and that is said


def test_spans_are_the_files_own_bytes(tmp_path):
    """Odd spacing, text beyond ASCII before and inside, a byte order mark, Windows line ends."""
    annotations = [
        {"id": 1, "note": "größe ✓", "segmentation": [[0, 0, 1, 1, 2, 0]]},
        {"id": 2, "iscrowd": 0, "segmentation": {"counts": 'a[]{}\\"b', "size": [1, 2]}},
    ]
    for mark in (b"", b"\xef\xbb\xbf"):
        for indent, separators in ((None, (",", ":")), (3, None)):
            data = {"info": {"x": "naïve"}, "annotations": annotations, "images": []}
            text = json.dumps(data, ensure_ascii=False, indent=indent, separators=separators)
            path = tmp_path / "a.json"
            path.write_bytes(mark + text.replace("\n", "\r\n").encode())
            found = load_with_spans(path, lambda a: {k: a[k] for k in ("id", "iscrowd") if k in a})
            assert found["info"] == data["info"]
            raw = path.read_bytes()
            for light, annotation in zip(found["annotations"], annotations):
                start, end = light.pop("span")
                assert json.loads(raw[start:end]) == annotation
                assert light == {k: v for k, v in annotation.items() if k in ("id", "iscrowd")}


@pytest.mark.parametrize(
    "text",
    ['{"annotations": [{},]}', '{"annotations": [{}] "x": 1}', '{"annotations": [{}', "[]x", '{"a": 1}}'],
)
def test_broken_json_is_refused_as_by_json_itself(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(json.JSONDecodeError) as oracle:
        json.loads(text)
    with pytest.raises(UserError, match=f"line 1, column {oracle.value.colno}: {oracle.value.msg}"):
        load_with_spans(path, dict)


def test_an_unknown_filter_is_named(scenes):
    with pytest.raises(UserError, match=r"unknown keys \['min_area'\]"):
        load(scenes, filter_cfg=dict(min_area=0.1))
