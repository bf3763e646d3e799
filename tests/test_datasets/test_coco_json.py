"""The validated COCO reader: real annotations, and every kind of fault by one clear message."""

import copy
import json

import pytest
from pycocotools.coco import COCO

from detdiffusion.datasets.boxes import CLIPPED, NOT_FINITE, OUTSIDE, ZERO_SIZE
from detdiffusion.datasets.coco_json import merge_checked, read_coco
from detdiffusion.utils.errors import UserError

GOOD = {
    "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 80}],
    "annotations": [
        {"id": 10, "image_id": 1, "category_id": 3, "bbox": [5, 6, 20, 10], "area": 150, "iscrowd": 0},
        {"id": 11, "image_id": 1, "category_id": 4, "bbox": [0, 0, 100, 80]},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "sky"}],
}


def write(folder, data, name="ann.json"):
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def changed(change):
    data = copy.deepcopy(GOOD)
    change(data)
    return data


def test_reads_real_coco_as_pycocotools_does(shared_dir):
    path = shared_dir / "data" / "coco_cc" / "instances.json"
    coco, oracle = read_coco(path), COCO(path)
    assert [image["id"] for image in coco.images] == oracle.getImgIds()
    assert {a["id"] for a in coco.annotations} == set(oracle.getAnnIds())
    assert sum(a["iscrowd"] for a in coco.annotations) == len(oracle.getAnnIds(iscrowd=True)) == 6
    for annotation in coco.annotations:
        assert annotation["bbox"] == pytest.approx(oracle.anns[annotation["id"]]["bbox"], abs=0.5)
    assert coco.report == {}


def test_fills_in_what_a_file_may_leave_out(tmp_path):
    coco = read_coco(write(tmp_path, GOOD))
    first, second = coco.annotations
    assert (first["area"], first["iscrowd"], first["bbox"]) == (150.0, 0, [5.0, 6.0, 20.0, 10.0])
    assert (second["area"], second["iscrowd"]) == (8000.0, 0)
    assert "1 images, 2 annotations (0 crowds), 2 categories" in coco.summary()


def test_defects_of_single_boxes_are_counted_not_fatal(tmp_path):
    boxes = [
        [5, 5, 0, 4],
        [5, 5, -3, 4],
        [float("nan"), 5, 3, 4],
        [5, 5, float("inf"), 4],
        [100, 5, 3, 4],
        [-9, 5, 9, 4],
        [-10, 70, 20, 20],
        [-0.2, 5, 10, 4],
    ]
    data = changed(
        lambda d: d["annotations"].extend(
            {"id": 100 + i, "image_id": 1, "category_id": 3, "bbox": box} for i, box in enumerate(boxes)
        )
    )
    coco = read_coco(write(tmp_path, data))
    assert coco.report == {ZERO_SIZE: 2, NOT_FINITE: 2, OUTSIDE: 2, CLIPPED: 1}
    kept = {a["id"]: a["bbox"] for a in coco.annotations}
    assert set(kept) == {10, 11, 106, 107}
    assert kept[106] == [0, 70, 10, 10]
    assert kept[107] == pytest.approx([0, 5, 9.8, 4])  # rounding at the border is clipped without a word
    text = coco.summary()
    assert "2 × box of zero or negative size: skipped (annotation ids 100, 101)" in text


FAULTS = {
    "not an object": (lambda d: None, "top level"),
    "no images": (lambda d: d.pop("images"), "'images'"),
    "no annotations": (lambda d: d.pop("annotations"), "'annotations'"),
    "no categories": (lambda d: d.pop("categories"), "'categories'"),
    "images no list": (lambda d: d.update(images={}), "'images' must be a list"),
    "annotations of text": (lambda d: d.update(annotations=["x"]), "'annotations' must be a list"),
    "image twice": (lambda d: d["images"].append(d["images"][0]), "image id 1 occurs twice"),
    "image without id": (lambda d: d["images"][0].pop("id"), "lacks 'id'"),
    "image without size": (lambda d: d["images"][0].pop("width"), "'width'"),
    "image of zero size": (lambda d: d["images"][0].update(height=0), "'height'"),
    "no file name": (lambda d: d["images"][0].update(file_name=None), "'file_name'"),
    "name that climbs out": (lambda d: d["images"][0].update(file_name="../a.png"), "leaves its folder"),
    "name on Windows": (lambda d: d["images"][0].update(file_name="..\\a.png"), "leaves its folder"),
    "absolute name": (lambda d: d["images"][0].update(file_name="/etc/passwd"), "leaves its folder"),
    "annotation twice": (lambda d: d["annotations"][1].update(id=10), "annotation id 10 occurs twice"),
    "text id": (
        lambda d: d["annotations"][1].update(id="x"),
        "annotations[1]: 'id' must be a whole number ('x')",
    ),
    "missing image": (lambda d: d["annotations"][1].update(image_id=9), "image id 9"),
    "unknown category": (lambda d: d["annotations"][1].update(category_id=9), "unknown category id 9"),
    "short box": (lambda d: d["annotations"][1].update(bbox=[1, 2, 3]), "'bbox'"),
    "no box": (lambda d: d["annotations"][1].pop("bbox"), "'bbox'"),
    "text box": (lambda d: d["annotations"][1].update(bbox=[1, 2, "3", 4]), "'bbox'"),
    "crowd 2": (lambda d: d["annotations"][1].update(iscrowd=2), "'iscrowd'"),
    "category twice": (lambda d: d["categories"][1].update(id=3), "category id 3"),
    "category name twice": (lambda d: d["categories"][1].update(name="cat"), "'cat' occurs twice"),
    "category without name": (lambda d: d["categories"][1].pop("name"), "'name'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_structural_faults_raise_one_clear_message(fault, tmp_path):
    change, part = FAULTS[fault]
    path = write(tmp_path, [] if fault == "not an object" else changed(change))
    with pytest.raises(UserError) as caught:
        read_coco(path)
    assert part in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", '{"images": [', "\x00\x01", "nope"])
def test_broken_json_names_the_file(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(UserError, match="ann.json: broken json at line 1"):
        read_coco(path)


def test_missing_file_folder_and_binary(tmp_path):
    (tmp_path / "b.json").write_bytes(b"\x89PNG\xff\xfe")
    for name, part in (("no.json", "no such COCO json file"), (".", "is a folder"), ("b.json", "not UTF-8")):
        with pytest.raises(UserError, match=part):
            read_coco(tmp_path / name)


def test_a_results_file_in_place_of_annotations_is_recognised(tmp_path):
    with pytest.raises(UserError, match="`predictions`"):
        read_coco(write(tmp_path, [{"image_id": 1, "score": 0.5}]))


def test_annotations_can_be_optional(tmp_path):
    path = write(tmp_path, changed(lambda d: d.pop("annotations")))
    assert read_coco(path, require_annotations=False).annotations == []


def test_merge_wants_unique_annotation_ids_and_one_meaning_of_ids(tmp_path):
    first = read_coco(write(tmp_path, GOOD))

    def other(change):
        data = changed(lambda d: ([a.update(id=a["id"] + 100) for a in d["annotations"]], change(d)))
        return read_coco(write(tmp_path, data, "other.json"))

    images, categories, annotations = merge_checked([first, other(lambda d: None)])
    assert (len(images), len(categories), len(annotations)) == (1, 2, 4)
    for change, part in (
        (lambda d: d["annotations"][0].update(id=11), "annotation id 11 occurs in"),
        (lambda d: d["categories"][0].update(name="dog"), "category id 3 is 'dog', but 'cat'"),
        (
            lambda d: (d["categories"][0].update(id=9), d["annotations"][0].update(category_id=9)),
            "category 'cat' has id 9, but id 3",
        ),
        (lambda d: d["images"][0].update(width=200), "image id 1 has width 200, but 100"),
    ):
        with pytest.raises(UserError, match=part):
            merge_checked([first, other(change)])
