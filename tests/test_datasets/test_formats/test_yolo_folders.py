"""YOLO sets as people and tools leave them: label folders, splits, lists of other machines, any case."""

import pytest

from detdiffusion.datasets.formats.yolo import read_yolo
from detdiffusion.utils.errors import UserError

SIZE = (100, 50)
NAMES = "names: [cup, pen]\n"


def row(x):
    """A box whose left edge is at pixel 10 x."""
    return f"0 {x / 10 + 0.05:.3f} 0.5 0.1 0.2\n"


def lefts(found):
    names = {image["id"]: image["file_name"] for image in found.images}
    return {names[a["image_id"]]: round(a["bbox"][0] / 10) for a in found.annotations}


LAYOUTS = {
    "Ultralytics": (
        {"data.yaml": NAMES + "path: .\ntrain: images/train\nval: images/val\n"}
        | {"images/train/a.jpg": SIZE, "labels/train/a.txt": row(1)}
        | {"images/val/a.jpg": SIZE, "labels/val/a.txt": row(2)},
        {"train/a.jpg": 1, "val/a.jpg": 2},
    ),
    "Roboflow": (
        {"data.yaml": NAMES + "nc: 2\ntrain: ../train/images\nval: ../valid/images\nroboflow: {license: x}\n"}
        | {"train/images/a.rf.1.jpg": SIZE, "train/labels/a.rf.1.txt": row(1)}
        | {"valid/images/b.jpg": SIZE, "valid/labels/b.txt": row(2), "README.roboflow.txt": ""},
        {"train/a.rf.1.jpg": 1, "val/b.jpg": 2},
    ),
    "beside the images": (
        {"data.yaml": NAMES + "train: .\n", "a.jpg": SIZE, "a.txt": row(1), "s/a.jpg": SIZE, "s/a.txt": row(2)},
        {"train/a.jpg": 1, "train/s/a.jpg": 2},
    ),
    "a folder of another name": (
        {"data.yaml": NAMES + "train: train/img\n", "train/img/a.jpg": SIZE, "train/labels/a.txt": row(1)},
        {"train/a.jpg": 1},
    ),
    "any case": (
        {"data.yaml": NAMES + "train: images\n", "Images/A.JPEG": SIZE, "LABELS/a.TXT": row(1)},
        {"train/A.JPEG": 1},
    ),
    "names of other case are other images": (
        {"data.yaml": NAMES + "train: images\n", "images/a.jpg": SIZE, "images/A.jpg": SIZE, "labels/a.txt": row(1)},
        {"train/a.jpg": 1},
    ),
    "splits as lists and text": (
        {"data.yaml": "names: {0: cup, 1: pen}\ntrain: [images/a, images/b]\nvalid: val.txt\n"}
        | {f"images/{s}/x.jpg": SIZE for s in "abc"}
        | {f"labels/{s}/x.txt": row(k) for k, s in enumerate("abc")}
        | {"val.txt": "./images/c/x.jpg\n"},
        {"train/x.jpg": 0, "train/1_x.jpg": 1, "val/x.jpg": 2},
    ),
    "links to hidden and dead files": (
        {"data.yaml": NAMES + "train: images\n", "images/a.jpg": SIZE, "labels/a.txt": row(1)}
        | {"images/._a.jpg": b"\0\5", "labels/._a.txt": b"\0\5", "labels/.cache": b""},
        {"train/a.jpg": 1},
    ),
    "a path of another machine": (
        {"data.yaml": NAMES + "path: /content/set\ntrain: images\n", "images/a.jpg": SIZE, "labels/a.txt": row(1)},
        {"train/a.jpg": 1},
    ),
    "a Windows path": (
        {"data.yaml": NAMES + "path: 'C:\\set'\ntrain: images\\day\n", "images/day/a.jpg": SIZE}
        | {"labels/day/a.txt": row(1)},
        {"train/a.jpg": 1},
    ),
    "UTF-16": (
        {"data.yaml": (NAMES + "train: t.txt\n").encode("utf-16"), "t.txt": "a é.jpg".encode("utf-16")}
        | {"a é.jpg": SIZE, "a é.txt": row(1).encode("utf-16")},
        {"train/a é.jpg": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts(case, make_set, check_account):
    files, expected = LAYOUTS[case]
    found = read_yolo(make_set(files) / "data.yaml", progress=False)
    assert lefts(found) == expected, found.summary()
    check_account(found)


def test_every_file_is_counted_by_its_reason(make_set, check_account):
    files = {
        "data.yaml": NAMES + "train: images/train\n",
        "images/train/a.jpg": SIZE,
        "labels/train/a.txt": row(1),
        "images/train/background.jpg": SIZE,
        "images/train/empty.jpg": SIZE,
        "labels/train/empty.txt": "\n",
        "images/train/torn.jpg": b"\xff\xd8",
        "labels/train/torn.txt": row(1),
        "images/train/two.jpg": SIZE,
        "images/train/two.png": SIZE,
        "labels/train/two.txt": row(1),
        "images/train/wide.jpg": SIZE,
        "labels/train/wide.txt": row(1).encode("utf-16-le"),
        "images/train/a.heic": b"",
        "labels/train/gone.txt": row(1),
        "labels/train.cache": b"",
        "labels/classes.txt": "cup\npen",
        "notes.json": "{}",
        "images/test/b.jpg": SIZE,
        "labels/test/b.txt": row(1),
        "test.txt": "images/test/b.jpg",
        "images/.hidden.jpg": SIZE,
    }
    found = read_yolo(make_set(files) / "data.yaml", progress=False)
    check_account(found)
    assert found.files.table().startswith(
        "22 files seen = 3 images + 2 label files + 1 companions that were read + 16"
    )
    counts = {reason: len(paths) for reason, paths in found.files.left_out().items()}
    assert counts == {
        "image that cannot be read: left out": 1,
        "label file of an image that is left out: left out": 1,
        "label file that matches several images: left out, with its images": 3,
        "label file that is not text: left out, with its image": 2,
        "label file without an image in a split: left out": 2,
        "companion that holds no objects (README, classes.txt, …): not read": 3,
        "image in none of the splits: left out": 1,
        "file of another kind: left out": 1,
        "text file that is neither a label file nor the list of a split: not read": 1,
        "hidden file: left out": 1,
    }
    rest = {reason: n for reason, n in found.report.items() if reason not in counts}
    assert rest == {"image without a label file: used as an image without objects": 1}


LISTS = {
    "relative": "images/0.jpg\nimages/s/1 a.jpg",
    "dots": "./images/0.jpg\n./images/s/1 a.jpg",
    "backslashes and line ends": "images\\0.jpg\r\nimages\\s\\1 a.jpg\r\n",
    "Windows": "D:\\work\\set\\images\\0.jpg\nD:\\work\\set\\images\\s\\1 a.jpg",
    "another machine": "/content/set/images/0.jpg\n/content/set/images/s/1 a.jpg",
    "another folder": "data/images/0.jpg\ndata/images/s/1 a.jpg",
    "case": "Images/0.JPG\nIMAGES/S/1 A.jpg",
    "no suffix": "images/0\nimages/s/1 a",
    "twice": "images/0.jpg\nimages/s/1 a.jpg\n./images/0.jpg",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("case", LISTS)
def test_lines_of_lists(case, encoding, make_set, check_account):
    files = {"data.yaml": NAMES + "train: lists/train.txt\n", "lists/train.txt": LISTS[case].encode(encoding)}
    files |= {
        "images/0.jpg": SIZE,
        "labels/0.txt": row(0),
        "images/s/1 a.jpg": SIZE,
        "labels/s/1 a.txt": row(1),
    }
    found = read_yolo(make_set(files) / "data.yaml", progress=False)
    assert lefts(found) == {"train/0.jpg": 0, "train/1 a.jpg": 1}, found.summary()
    said = {"path in a list that does not exist here: matched by its end", "image listed twice: used once"}
    assert set(found.report) <= said and bool(found.report) == (
        case in ("twice", "Windows", "another machine", "another folder")
    )
    check_account(found)


def test_an_absolute_path_is_the_file_itself(make_set, check_account):
    root = make_set(
        {"data.yaml": NAMES + "train: [t.txt, images]\n", "images/0.jpg": SIZE, "labels/0.txt": row(0)}
    )
    (root / "t.txt").write_text(f"{root}/images/0.jpg")
    found = read_yolo(root / "data.yaml", progress=False)
    assert len(found.images) == 1 and found.report == {"image listed twice: used once": 1}
    check_account(found)


def test_images_of_a_list_that_are_not_there(make_set):
    files = {"data.yaml": NAMES + "train: t.txt\n", "images/0.jpg": SIZE, "labels/0.txt": row(0)}
    found = read_yolo(make_set(files | {"t.txt": "images/0.jpg\nval/0.jpg\n"}) / "data.yaml", progress=False)
    assert (
        found.report == {"listed image that does not exist: left out": 1}
        and "line 2: val/0.jpg" in found.summary()
    )
    for lines in ("none/0.jpg\nnone/1.jpg", ""):
        with pytest.raises(
            UserError, match=r"t.txt: none of the \d images of this list exists \((none/0|it is empty)"
        ):
            read_yolo(make_set(files | {"t.txt": lines}) / "data.yaml", progress=False)


def test_no_objects_say_where_labels_were_looked_for(make_set, tmp_path):
    root = make_set(
        {"data.yaml": NAMES + "train: train/img\n", "train/img/a.jpg": SIZE, "train/txt/a.txt": row(1)}
    )
    found = read_yolo(root / "data.yaml", progress=False)
    with pytest.raises(UserError, match="no objects in 1 images; label files were searched for as") as caught:
        found.write(tmp_path / "out")
    assert f"{root}/train/img/*.txt, {root}/train/labels/*.txt" in str(caught.value)
    assert "train/txt/a.txt" in str(caught.value) and not (tmp_path / "out").exists()


def test_folders_in_place_of_a_yaml(make_set, check_account):
    files = {
        "img/s/A.JPG": SIZE,
        "img/b.jpg": SIZE,
        "txt/s/a.TXT": row(1),
        "txt/b.txt": row(2),
        "txt/c.txt": row(3),
    }
    root = make_set(files | {"txt/classes.txt": "\ufeffcup\r\npen\r\n"})
    found = read_yolo(
        images=root / "IMG", labels=root / "TXT", names=root / "txt/classes.txt", progress=False
    )
    assert lefts(found) == {"s/A.JPG": 1, "b.jpg": 2} and found.classes == ["cup", "pen"]
    assert found.report == {"label file without an image in a split: left out": 1}
    check_account(found)


@pytest.mark.parametrize(
    ("yaml", "part"),
    [
        ("names: [cup]\nnc: 2\ntrain: images", "'nc' says 2 classes, 'names' has 1"),
        ("names: [cup]\ntrain: 2020-13-45", "broken yaml"),
        ("names: [cup]\ntrain: images/none", "no folder or list"),
        ("names: [cup]\ntrain: empty", "no images found in"),
        ("names: [cup]\ntrain: images/a.jpg", "save it as UTF-8"),
    ],
)
def test_bad_yaml_is_one_clear_message(yaml, part, make_set):
    root = make_set({"data.yaml": yaml, "images/a.jpg": SIZE, "labels/a.txt": row(0), "empty/a.md": ""})
    with pytest.raises(UserError) as caught:
        read_yolo(root / "data.yaml", progress=False)
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_a_new_name_may_be_taken_too(make_set, check_account):
    names = ("x/2_a.jpg", "x/a.jpg", "y/a.jpg")
    files = {"data.yaml": NAMES + "train: list.txt\n", "list.txt": "\n".join(f"images/{n}" for n in names)}
    for number, name in enumerate(names):
        files |= {f"images/{name}": SIZE, f"labels/{name.replace('.jpg', '.txt')}": row(number)}
    found = read_yolo(make_set(files) / "data.yaml", progress=False)
    assert lefts(found) == {"train/2_a.jpg": 0, "train/a.jpg": 1, "train/3_a.jpg": 2}
    check_account(found)
