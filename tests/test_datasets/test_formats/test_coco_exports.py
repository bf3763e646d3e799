"""COCO exports of Roboflow, CVAT and Label Studio: images found, objects complete, everything left out counted."""

import json

import pytest

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.formats.any_form import read_set
from detdiffusion.utils.errors import UserError

SIZE = (40, 30)


def coco(names, boxes=((1, 2, 10, 8),), categories=("cat", "dog"), first_id=1, **image):
    """A json text: every image with the same boxes, of the classes in turn."""
    annotations = [
        dict(
            id=10 * i + k,
            image_id=i,
            category_id=first_id + k % len(categories),
            bbox=list(box),
            segmentation=[],
        )
        for i in range(len(names))
        for k, box in enumerate(boxes)
    ]
    images = [
        dict(dict(id=i, file_name=name, width=SIZE[0], height=SIZE[1]), **image)
        for i, name in enumerate(names)
    ]
    listed = [dict(id=first_id + k, name=name, supercategory="") for k, name in enumerate(categories)]
    return json.dumps(dict(images=images, annotations=annotations, categories=listed))


def roboflow(names, boxes=((1, 2, 10, 8),)):
    data = json.loads(coco(names, boxes))
    for category in data["categories"]:
        category["supercategory"] = "animals"
    data["categories"].insert(0, dict(id=0, name="animals", supercategory="none"))
    return json.dumps(data)


def test_roboflow(make_set, check_account, tmp_path):
    root = make_set(
        {
            "train/_annotations.coco.json": roboflow(
                ["a_jpg.rf.0.png", "same.png"], [(1, 2, 10, 8), (3, 3, 5, 6)]
            ),
            "train/a_jpg.rf.0.png": SIZE,
            "train/same.png": SIZE,
            "valid/_annotations.coco.json": roboflow(["same.png"]),
            "valid/same.png": SIZE,
            "README.roboflow.txt": "",
        }
    )
    converted = read_set(root, progress=False)
    assert converted.classes == ["cat", "dog"]
    assert {split: len(ids) for split, ids in converted.splits.items()} == {"train": 2, "val": 1}
    assert [image["file_name"] for image in converted.images] == [
        "train/a_jpg.rf.0.png",
        "train/same.png",
        "val/same.png",
    ]
    assert len(converted.annotations) == 5
    assert any("root category" in reason for reason in converted.report)
    check_account(converted)
    for split, path in converted.write(tmp_path / "out").items():
        file = read_coco(path)
        assert not file.findings and len(file.images) == len(converted.splits[split])
        assert all((tmp_path / "out/images" / image["file_name"]).is_file() for image in file.images)


def test_root_category_with_the_name_of_a_class(make_set):
    data = json.loads(roboflow(["a.png"]))
    data["categories"] = [
        dict(id=0, name="cat", supercategory="none"),
        dict(id=1, name="cat", supercategory="cat"),
    ]
    root = make_set({"_annotations.coco.json": json.dumps(data), "a.png": SIZE})
    assert read_set(root, progress=False).classes == ["cat"]


@pytest.mark.parametrize("place", ["images/default", "images", "data", "default"])
def test_cvat(make_set, check_account, place):
    root = make_set({"annotations/instances_default.json": coco(["sub/a.png"]), f"{place}/sub/a.png": SIZE})
    converted = read_set(root, progress=False)
    assert [(i["file_name"], i["width"]) for i in converted.images] == [("sub/a.png", 40)]
    assert converted.splits == {"all": [1]} and len(converted.annotations) == 1
    check_account(converted)


def test_masks_and_own_fields_are_kept(make_set):
    data = json.loads(coco(["a.png"]))
    polygon = [[1, 2, 11, 2, 11, 10, 1, 10]]
    data["annotations"][0].update(segmentation=polygon, area=70, attributes=dict(occluded=True))
    root = make_set({"annotations/instances_default.json": json.dumps(data), "images/a.png": SIZE})
    converted = read_set(root, progress=False)
    (annotation,) = converted.annotations
    assert annotation["segmentation"] == polygon and annotation["area"] == 70
    assert annotation["attributes"] == dict(occluded=True) and converted.masks == 1
    light = read_set(root, progress=False, segmentations=False)
    assert light.masks == 1 and "segmentation" not in light.annotations[0]


@pytest.mark.parametrize(
    ("listed", "file"),
    [
        ("images/3f2a1b9c-photo 1.png", "images/3f2a1b9c-photo 1.png"),
        ("3f2a1b9c-photo.png", "images/photo.png"),
        ("/data/upload/2/3f2a1b9c-photo.png", "images/3f2a1b9c-photo.png"),
        ("/data/local-files/?d=my/photo%201.png", "images/photo 1.png"),
        ("C:\\export\\images\\photo.png", "images/photo.png"),
        ("images/../images/photo.png", "images/photo.png"),
    ],
)
def test_names_of_label_studio(make_set, check_account, listed, file):
    root = make_set({"result.json": coco([listed], first_id=0, width=None, height=None), file: SIZE})
    converted = read_set(root, progress=False)
    assert [(i["width"], i["height"]) for i in converted.images] == [SIZE]
    assert len(converted.annotations) == 1
    assert converted.sources[1].samefile(root / file)
    check_account(converted)


def test_left_out_and_counted(make_set, check_account):
    root = make_set(
        {
            "annotations/train.json": coco(
                ["a.png", "gone.png", "other.png", "bad.png"], [(1, 2, 10, 8), (5, 5, 0, 3)]
            ),
            "annotations/val.json": coco(["a.png"], [(1, 2, 10, 8), (4, 4, 4, 4)]),
            "images/a.png": SIZE,
            "images/other.png": (41, 30),
            "images/bad.png": b"no image",
            "images/unlisted.png": SIZE,
        }
    )
    converted = read_set(root, progress=False)
    assert [image["file_name"] for image in converted.images] == ["a.png"]
    assert converted.splits == {"train": [1], "val": [1]} and len(converted.annotations) == 1
    reasons = " ".join(converted.report)
    for part in (
        "does not exist",
        "another size",
        "cannot be read",
        "no json lists",
        "zero or negative",
        "two splits",
    ):
        assert part in reasons
    check_account(converted)


def test_classes_that_differ(make_set):
    root = make_set(
        {
            "annotations/train.json": coco(["a.png"], categories=("cat", "dog")),
            "annotations/val.json": coco(["b.png"], categories=("cat", "dogs")),
            "images/a.png": SIZE,
            "images/b.png": SIZE,
        }
    )
    with pytest.raises(UserError, match=r"train lacks 'dogs'; val lacks 'dog'; rename them, or .*`classes`"):
        read_set(root, progress=False)
    converted = read_set(root, classes=["dog", "cat"], progress=False)
    assert converted.classes == ["dog", "cat"] and [a["category_id"] for a in converted.annotations] == [2, 2]
    with pytest.raises(UserError, match="no category is called 'dgo' .near matches: dog"):
        read_set(root, classes=["dgo"], progress=False)


def test_order_of_categories_does_not_matter(make_set):
    root = make_set(
        {
            "annotations/train.json": coco(["a.png"], categories=("cat", "dog")),
            "annotations/val.json": coco(["b.png"], categories=("dog", "cat")),
            "images/a.png": SIZE,
            "images/b.png": SIZE,
        }
    )
    assert [a["category_id"] for a in read_set(root, progress=False).annotations] == [1, 2]


def test_image_folder_that_is_wrong(make_set):
    root = make_set(
        {
            "labels.json": coco(["a.png", "b.png"]),
            "photos/x.png": SIZE,
            "right/b.png": SIZE,
            "right/a.png": SIZE,
        }
    )
    for img_dir in (None, root / "photos"):
        with pytest.raises(
            UserError, match=r"labels.json: none of its 2 images exists .a.png, b.png.*`img_dir`"
        ):
            read_set(root / "labels.json", img_dir=img_dir, progress=False)
    assert len(read_set(root / "labels.json", img_dir=root / "right", progress=False).images) == 2


def test_voc_with_images_beside(make_set):
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    xml = f"<annotation><object><name>cat</name>{box}</object></annotation>"
    root = make_set(
        {
            f"{split}/a.{end}": xml if end == "xml" else SIZE
            for split in ("train", "valid")
            for end in ("xml", "png")
        }
    )
    converted = read_set(root, progress=False)
    assert converted.splits == {"train": [1], "val": [2]}


@pytest.mark.parametrize("classes", [None, ["a"]])
def test_yolo_of_cvat(make_set, classes):
    root = make_set(
        {"obj.names": "a\nb\n", "obj_train_data/x.png": SIZE, "obj_train_data/x.txt": "1 0.5 0.5 0.5 0.5\n"}
    )
    if classes:
        with pytest.raises(UserError, match="`classes` is not for YOLO"):
            read_set(root, classes=classes, progress=False)
        return
    converted = read_set(root, progress=False)
    assert converted.classes == ["a", "b"] and converted.annotations[0]["bbox"] == [10, 7.5, 20, 15]
