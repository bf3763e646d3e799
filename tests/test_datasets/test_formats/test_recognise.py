"""Recognising data sets by their files, and messages where that is impossible."""

import pytest

from detdiffusion.datasets.formats.recognise import recognise, split_name
from detdiffusion.utils.errors import UserError

IMAGE = (20, 10)
LAYOUTS = {
    "COCO": [
        {"annotations/instances_train2017.json": "{}", "annotations/captions_train2017.json": "{}"},
        {"annotations/train.json": "{}", "annotations/val.json": "{}", "images/a.png": IMAGE},
        {"instances.json": "{}", "images/a.png": IMAGE, "attributes.json": "{}"},
        {"annotations.json": "{}", "annotations_gated.json": "{}", "images/a.png": IMAGE},
    ],
    "Roboflow": [
        {
            "train/_annotations.coco.json": "{}",
            "valid/_annotations.coco.json": "{}",
            "README.roboflow.txt": "",
        },
        {"_annotations.coco.json": "{}", "a.png": IMAGE},
    ],
    "CVAT": [
        {"annotations/instances_default.json": "{}", "images/default/a.png": IMAGE},
        {"annotations/instances_Train.json": "{}", "data/a.png": IMAGE},
    ],
    "Label Studio": [{"result.json": "{}", "images/a.png": IMAGE}],
    "Pascal VOC": [
        {"annotations/a.xml": "<a/>", "JPEGImages/a.png": IMAGE},
        {"Annotations/a.xml": "<a/>", "images/a.png": IMAGE},
        {"train/a.xml": "<a/>", "train/a.png": IMAGE},
    ],
    "YOLO": [
        {"data.yaml": "names: [a]\ntrain: images\n", "other.yaml": "names: [b]", "images/a.png": IMAGE},
        {"my.yml": "path: .\nnames:\n  0: a\n", "hyp.yaml": "lr: 1"},
        {"classes.txt": "a", "images/a.png": IMAGE, "labels/a.txt": "", "notes.json": "{}"},
        {"obj.names": "a", "obj_train_data/a.png": IMAGE, "obj_train_data/a.txt": ""},
    ],
}


@pytest.mark.parametrize(("form", "files"), [(form, f) for form, layouts in LAYOUTS.items() for f in layouts])
def test_form_of_a_folder(make_set, form, files):
    found = recognise(make_set(files))
    assert found.form == form
    assert all(part.ann_file.is_file() for part in found.parts)
    assert form in str(found)


def test_splits_of_jsons(make_set):
    root = make_set({f"{name}/_annotations.coco.json": "{}" for name in ("valid", "test", "train")})
    assert [part.split for part in recognise(root).parts] == ["train", "val", "test"]
    root = make_set({f"annotations/instances_train{year}.json": "{}" for year in (2014, 2017)})
    root = root / "annotations/instances_train2014.json"
    assert [part.split for part in recognise(root).parts] == ["train"]


def test_two_years_of_a_split_are_two_splits(make_set):
    root = make_set({f"annotations/instances_train{year}.json": "{}" for year in (2014, 2017)})
    assert [part.split for part in recognise(root).parts] == ["train2014", "train2017"]


@pytest.mark.parametrize(
    ("name", "split"),
    [("instances_val2017", "val"), ("Valid", "val"), ("training", "train"), ("contest", None)],
)
def test_split_name(name, split):
    assert split_name(name) == split


@pytest.mark.parametrize(
    ("files", "path", "message"),
    [
        ({"a.txt": ""}, "", "no labels of a known form.*it holds a.txt"),
        ({"photos/a.png": IMAGE}, "phots", "no such file or folder; did you mean .*photos"),
        (
            {"photos/a.png": IMAGE},
            "x/y/z",
            "no such file or folder; the last folder of its path that exists is .*set",
        ),
        ({"images/a.png": IMAGE, "labels/a.txt": ""}, "", "no class names: write them to classes.txt"),
        ({"inner/result.json": "{}", "inner/images/a.png": IMAGE}, "", "did you mean .*inner"),
        ({"result.json": "{}", "images/a.png": IMAGE}, "images", "did you mean .*set"),
        ({"mine.json": "{}"}, "", "to read mine.json as COCO, give the file itself"),
        ({"a.png": IMAGE}, "a.png", "not a labelled data set"),
        (
            {"instances.json": "{}", "data.yaml": "names: [a]"},
            "",
            "several forms: COCO .*YOLO .*give the json",
        ),
        ({"a.yaml": "names: [a]", "b.yaml": "names: [b]"}, "", "several YOLO data files .a.yaml, b.yaml"),
    ],
)
def test_unknown_forms(make_set, files, path, message):
    with pytest.raises(UserError, match=message):
        recognise(make_set(files) / path)


def test_image_folder_is_for_jsons(make_set):
    root = make_set({"data.yaml": "names: [a]", "instances.json": "{}"})
    with pytest.raises(UserError, match="`img_dir` is for COCO jsons"):
        recognise(root / "data.yaml", root)
    with pytest.raises(UserError, match="`img_dir`: .*absent: no such folder"):
        recognise(root / "instances.json", root / "absent")
    assert recognise(root / "instances.json", root).parts[0].folders == (root,)
