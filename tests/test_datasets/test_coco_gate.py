"""What public exports do to a COCO json: right, counted, or refused by file and entry, in memory and by spans alike."""

import copy
import json

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from detdiffusion.datasets import LayoutCocoDataset
from detdiffusion.datasets.boxes import RELATIVE
from detdiffusion.datasets.coco_json import merge_checked, read_coco
from detdiffusion.datasets.coco_objects import BAD_AREA, NO_AREA
from detdiffusion.datasets.layout_index import LayoutIndex
from detdiffusion.datasets.segmentation_check import FEW_POINTS, NO_PART
from detdiffusion.utils.errors import UserError

SQUARE = [20, 20, 60, 20, 60, 50, 20, 50]
GOOD = {
    "images": [
        {"id": 1, "file_name": "a.png", "width": 100, "height": 80},
        {"id": 2, "file_name": "b.png", "width": 100, "height": 80},
    ],
    "annotations": [
        {"id": 0, "image_id": 1, "category_id": 0, "bbox": [20, 20, 40, 30], "area": 1200, "iscrowd": 0},
        {"id": 7, "image_id": 2, "category_id": 4, "bbox": [10, 10, 30, 30], "area": 700.5},
    ],
    "categories": [{"id": 0, "name": "cat"}, {"id": 4, "name": "sky"}],
}


@pytest.fixture(params=[False, True], ids=["memory", "spans"])
def read(request, tmp_path):
    """Reads GOOD after a change."""

    def run(change):
        data = copy.deepcopy(GOOD)
        change(data)
        (tmp_path / "ann.json").write_text(json.dumps(data))
        return read_coco(tmp_path / "ann.json", spans=request.param)

    return run


def first(**fields):
    return lambda data: data["annotations"][0].update(fields)


def found(file):
    return {finding.problem: finding.count for finding in file.findings}


def test_a_good_file_has_no_finding(read):
    assert read(lambda d: None).findings == []


@pytest.mark.parametrize(
    "area",
    [
        0,
        -1,
        -0.5,
        "1200",
        None,
        [1200],
        True,
        float("nan"),
        float("inf"),
        1e300,
        10**400,
        0.15,
        1200 / 8000,
        5000,
    ],
)
def test_an_area_that_cannot_be_is_the_boxs(read, area):
    file = read(first(area=area))
    assert file.annotations[0]["area"] == 1200
    assert found(file) == {(NO_AREA if area is None else BAD_AREA): 1}
    assert "the box's area is used (annotation id 0)" in file.summary()


@pytest.mark.parametrize("area", [1200, 1, 2.5, 1199.9, 31 * 41])
def test_an_area_that_can_be_stays(read, area):
    file = read(first(area=area, bbox=[20, 20, 1, 1] if area == 1 else [20, 20, 40, 30]))
    assert file.annotations[0]["area"] == area and not file.findings


TRIANGLE, TWO = [[20, 20, 60, 20, 60, 50]], [[20, 20, 30, 20, 30, 30], [40, 40, 60, 40, 60, 50, 40, 50]]
MASKS = {
    "polygon": (TRIANGLE, TRIANGLE),
    "parts": ([*TWO, [1, 2, 3, 4]], TWO),
    "run lengths": (dict(size=[80, 100], counts=[1620, 11, 69, 9, 6291]),) * 2,
}
MASKS["text"] = (mask_utils.frPyObjects(MASKS["run lengths"][0], 80, 100),) * 2
MASKS["text"][0]["counts"] = MASKS["text"][0]["counts"].decode()


@pytest.mark.parametrize("area", [None, 0, "1200", 0.15])
@pytest.mark.parametrize("kind", MASKS)
def test_an_area_that_cannot_be_is_the_masks(read, kind, area):
    """As pycocotools draws it; a reader without segmentations in memory has none."""
    segmentation, good = MASKS[kind]
    file = read(first(area=area, segmentation=segmentation))
    coco, annotation = COCO(), file.annotations[0]
    coco.imgs = {1: GOOD["images"][0]}
    assert annotation.get("area") == (
        None if "span" in annotation else coco.annToMask(dict(image_id=1, segmentation=good)).sum()
    )
    assert "the mask's area is used (annotation id 0)" in file.summary()


@pytest.mark.parametrize(
    "mask", [[[200, 200, 260, 200, 260, 250]], [[1, 1, 99, 1, 99, 79, 1, 79]], [[0, 0, 1]]]
)
def test_a_mask_that_is_not_in_the_box_gives_no_area(tmp_path, mask):
    data = copy.deepcopy(GOOD)
    data["annotations"][0].update(area=0, segmentation=mask)
    (tmp_path / "ann.json").write_text(json.dumps(data))
    file = read_coco(tmp_path / "ann.json")
    assert file.annotations[0]["area"] == 1200 and "the box's area is used" in file.summary()


IDS = {
    "annotation above": (
        first(id=2**63),
        "annotations[0]: 'id' must be from 0 to 2^63 - 1 (9223372036854775808)",
    ),
    "annotation below": (first(id=-1), "annotations[0]: 'id' must be from 0"),
    "annotation as text": (
        first(id="7"),
        "'id' must be a whole number ('7'); write it without quotation marks",
    ),
    "annotation as fraction": (first(id=7.0), "'id' must be a whole number (7.0)"),
    "annotation as truth": (first(id=True), "'id' must be a whole number (True)"),
    "annotation null": (first(id=None), "'id' must be a whole number ('null')"),
    "image above": (lambda d: d["images"][0].update(id=2**64), "images[0]: 'id' must be from 0"),
    "image as text": (
        lambda d: d["images"][0].update(id="a"),
        "images[0]: 'id' must be a whole number ('a')",
    ),
    "image of an annotation": (first(image_id=2**70), "annotations[0] (id 0): 'image_id' must be from 0"),
    "category above": (lambda d: d["categories"][0].update(id=2**65), "categories[0]: 'id' must be from 0"),
    "category of an annotation": (
        first(category_id="0"),
        "annotations[0] (id 0): 'category_id' must be a whole",
    ),
    "category truth": (first(category_id=False), "'category_id' must be a whole number (False)"),
}


@pytest.mark.parametrize("case", IDS)
def test_ids_that_are_none(read, case):
    change, part = IDS[case]
    with pytest.raises(UserError) as caught:
        read(change)
    assert part in str(caught.value) and "ann.json" in str(caught.value)


def test_the_largest_ids_are_read(read):
    big = 2**63 - 1

    def change(data):
        data["images"][0]["id"] = data["annotations"][0]["image_id"] = big
        data["categories"][0]["id"] = data["annotations"][0]["category_id"] = big
        data["annotations"][0]["id"] = big

    file = read(change)
    assert file.annotations[0]["id"] == file.annotations[0]["category_id"] == big and not file.findings


def test_many_entries_with_one_fault_are_one_line(read):
    def change(data):
        data["annotations"] = [dict(data["annotations"][0], id=i, bbox=[1, 2, 3]) for i in range(50)]

    with pytest.raises(UserError) as caught:
        read(change)
    assert str(caught.value).count("\n") == 0 and "50 × 'bbox' must be four numbers" in str(caught.value)
    assert "annotations[0] (id 0), annotations[1] (id 1)" in str(caught.value)


UNITS = {
    "normalised": ([[0.1, 0.1, 0.3, 0.2], [0.5, 0.4, 0.5, 0.6]], "look normalised"),
    "normalised beyond the border": ([[0.1, 0.1, 0.3, 0.2], [0.9, -0.05, 0.2, 0.6]], "look normalised"),
    "normalised far beyond the border": ([[-0.2, 0.1, 0.3, 0.2], [0.9, 0.1, 0.4, 1.3]], "look normalised"),
    "normalised corners": ([[0.1, 0.1, 0.9, 0.8], [0.5, 0.4, 1, 1]], "look normalised"),
    "images of twice the size": ([[120, 20, 30, 30], [150, 130, 20, 20]], "their centre outside"),
    "all outside": ([[500, 500, 10, 10], [-50, 2, 10, 10]], "their centre outside"),
    "no size": ([[5, 5, 0, 4], [5, 5, -3, 4]], "none of its boxes can be used"),
    "not finite": ([[float("nan")] * 4, [1, 1, float("inf"), 10**400]], "none of its boxes can be used"),
    "two corners": (
        [
            [5, 5, 95, 75],
            [40, 30, 90, 70],
            [10, 10, 20, 20],
            [45, 35, 80, 60],
            [2, 2, 9, 9],
            [46, 36, 99, 79],
        ],
        "every one looks like two corners",
    ),
}


@pytest.mark.parametrize("case", UNITS)
def test_boxes_in_another_unit_are_refused(read, case):
    boxes, part = UNITS[case]

    def change(data):
        data["annotations"] = [
            dict(data["annotations"][0], id=i, bbox=box, area=100) for i, box in enumerate(boxes)
        ]

    with pytest.raises(UserError, match=part) as caught:
        read(change)
    assert "ann.json" in str(caught.value)


def test_some_relative_boxes_are_counted(read):
    file = read(first(bbox=[0.2, 0.2, 0.4, 0.5]))
    assert file.report == {RELATIVE: 1} and len(file.annotations) == 2


def test_a_box_of_one_pixel_in_a_tiny_image(read):
    def change(data):
        data["images"] = [dict(image, width=4, height=4) for image in data["images"]]
        data["annotations"] = [dict(data["annotations"][0], bbox=[0, 0, 1, 1], area=1)]

    assert read(change).findings == []


def rle(height, width, text=True):
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[2:50, 3:70] = 1
    counts = mask_utils.encode(mask)["counts"].decode()
    return dict(size=[height, width], counts=counts if text else [0, height * width])


BAD = {
    "flat list": (SQUARE, "flat list of numbers"),
    "pairs": ([[[20, 20], [60, 20], [60, 50]]], "made of pairs"),
    "pairs without their list": ([[20, 20], [60, 20], [60, 50]], "made of pairs"),
    "points as objects": ([[{"x": 20, "y": 20}]], "made of pairs"),
    "odd": ([[*SQUARE, 7]], "odd number of values"),
    "texts": ([["20"] * 6], "not a number"),
    "nan": ([[*SQUARE[:5], float("nan")]], "not finite"),
    "infinite": ([[*SQUARE[:5], float("inf")]], "not finite"),
    "huge": ([[*SQUARE[:5], 1e8]], "beyond a million pixels"),
    "huge and negative": ([SQUARE, [*SQUARE[:4], -(10**9), 50]], "beyond a million pixels"),
    "null": ([None], "neither polygons nor RLE"),
    "a text": ("polygon", "neither polygons nor RLE"),
    "a number": (7, "neither polygons nor RLE"),
    "run lengths in a list": ([rle(80, 100)], "neither polygons nor RLE"),
    "normalised": ([[0.2, 0.2, 0.6, 0.2, 0.6, 0.5]], "values from 0 to 1 only"),
    "other size": (rle(100, 80), "another size than its image ('100 x 80, image 80 x 100 (height x width)')"),
    "other size, list": (rle(60, 100, False), "another size than its image"),
    "huge size": (dict(size=[2**40, 1], counts=[1]), "'size' of run lengths"),
    "no size": (dict(counts="04"), "'size' of run lengths"),
    "no counts": (dict(size=[80, 100]), "'counts' of run lengths"),
    "counts are a number": (dict(size=[80, 100], counts=3), "'counts' of run lengths"),
    "too short": (dict(rle(80, 100), counts=rle(80, 100)["counts"][:-3]), "do not fill their mask"),
    "too long, list": (dict(size=[80, 100], counts=[8000, 1]), "do not fill their mask ('8001 pixels"),
    "huge runs": (dict(size=[80, 100], counts=[10**30]), "do not fill their mask"),
    "foreign characters": (dict(size=[80, 100], counts="é~ü"), "do not fill their mask ('broken text"),
    "empty counts": (dict(size=[80, 100], counts=""), "do not fill their mask"),
    "negative": (dict(size=[80, 100], counts=[8001, -1]), "run lengths must be whole numbers from 0"),
    "fractions": (dict(size=[80, 100], counts=[8000.0]), "run lengths must be whole numbers from 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_segmentations_that_are_none_are_named(read, case):
    """Boxes are read without them; who reads masks refuses the file."""
    segmentation, part = BAD[case]
    file = read(lambda d: d["annotations"][1].update(segmentation=segmentation))
    (error,) = map(str, file.mask_errors)
    assert part in error and "ann.json: annotation id 7" in error
    assert len(file.annotations) == 2 and "segmentation" not in file.annotations[1]
    assert "the segmentation is left out (annotation id 7)" in file.summary()


def test_readers_of_masks_refuse_them_at_the_start(tmp_path):
    data = copy.deepcopy(GOOD)
    data["annotations"][0]["segmentation"], data["annotations"][1]["segmentation"] = (
        SQUARE,
        [[[1, 2], [3, 4]]],
    )
    (tmp_path / "ann.json").write_text(json.dumps(data))
    options = dict(img_dir=str(tmp_path), filter_cfg=dict(min_objects=1))
    steps = [dict(type="LoadLayoutImage", size=(8, 8)), dict(type="LoadLayoutMasks")]
    with pytest.raises(UserError) as caught:
        LayoutCocoDataset(tmp_path / "ann.json", pipeline=steps, **options)
    first, second = str(caught.value).splitlines()
    assert (
        "ann.json: annotation id 0: a polygon is a flat list" in first
        and "annotation id 7: a polygon is made" in second
    )
    dataset = LayoutCocoDataset(tmp_path / "ann.json", pipeline=[], **options)
    assert dataset[0]["segmentations"] == dataset[1]["segmentations"] == [None]
    dataset.layouts.store(tmp_path / "index.npz")
    assert "flat list" in LayoutIndex.load(tmp_path / "index.npz").mask_errors[0]


@pytest.mark.parametrize(
    "segmentation", [[SQUARE], [SQUARE, [1, 1, 5, 1, 5, 5]], rle(80, 100), rle(80, 100, False), [], None, {}]
)
@pytest.mark.parametrize("crowd", [0, 1])
def test_segmentations_that_are_right(read, segmentation, crowd):
    assert read(first(segmentation=segmentation, iscrowd=crowd)).findings == []


def test_useless_parts_are_dropped_and_the_good_ones_kept(read):
    file = read(first(segmentation=[[1, 2, 3, 4], SQUARE, [5, 5], []]))
    assert file.report == {FEW_POINTS: 1}
    assert file.annotations[0].get("segmentation", [SQUARE]) == [SQUARE]
    file = read(first(segmentation=[[1, 2, 3, 4]]))
    assert file.report == {NO_PART: 1} and file.annotations[0].get("segmentation") is None


@pytest.mark.parametrize("name", ["a.png", "./a.png", ".//a.png"])
def test_one_file_under_two_ids_is_refused(read, name):
    with pytest.raises(UserError, match=r"images\[1\] \(id 2\): image id 1 has the same file name"):
        read(lambda d: d["images"][1].update(file_name=name))


def test_either_slash_is_one_file(read):
    names = iter(["x/a.png", "x\\a.png"])
    with pytest.raises(UserError, match="image id 1 has the same file name"):
        read(lambda d: [image.update(file_name=next(names)) for image in d["images"]])


def test_names_that_differ_by_case_are_noted(read):
    file = read(lambda d: d["images"][1].update(file_name="A.png"))
    assert [f.severity for f in file.findings] == ["note"] and "a.png and A.png" in file.summary()


def test_one_file_under_two_ids_in_two_jsons(tmp_path):
    for name, key in (("one", 1), ("two", 9)):
        data = copy.deepcopy(GOOD)
        data["images"][0]["id"] = data["annotations"][0]["image_id"] = key
        for annotation in data["annotations"]:
            annotation["id"] += 100 * key
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    with pytest.raises(
        UserError, match="two.json: image id 9 has the file name 'a.png', which image id 1 has"
    ):
        merge_checked([read_coco(tmp_path / "one.json"), read_coco(tmp_path / "two.json")])


@pytest.mark.parametrize("spans", [False, True])
@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('"categories":', '"annotations": [], "categories":', "annotations"),
        ('"bbox": [20', '"bbox": [1, 2, 3, 4], "bbox": [20', "bbox"),
        ('"name": "cat"', '"name": "cat", "name": "dog"', "name"),
    ],
)
def test_a_key_twice_in_one_object(tmp_path, spans, old, new, key):
    (tmp_path / "ann.json").write_text(json.dumps(GOOD).replace(old, new))
    with pytest.raises(UserError, match=f"ann.json: the key '{key}' occurs twice"):
        read_coco(tmp_path / "ann.json", spans=spans)
    (tmp_path / "ann.json").write_text(json.dumps(GOOD).replace('"iscrowd": 0', '"iscrowd": 0, "iscrowd": 0'))
    assert not read_coco(tmp_path / "ann.json", spans=spans).findings


@pytest.mark.parametrize(
    "regions", [3, [3], [{"bbox": [1, 2, 3, 4]}], [{"bbox": [1, "2"], "category_id": 0}]]
)
def test_regions_that_a_prompt_left_out(read, regions):
    with pytest.raises(UserError, match=r"images\[0\] \(id 1\): 'not_prompted' must list objects"):
        read(lambda d: d["images"][0].update(not_prompted=regions))


@pytest.mark.parametrize(
    "part", [[5, 5, 5, 5, 5, 5], [5, 5, 9, 5, 12, 5], [5, 5, 5, 9]], ids=["point", "line", "two"]
)
def test_parts_that_enclose_nothing_are_left_out(read, part):
    file = read(first(segmentation=[SQUARE, part]))
    assert file.report == {FEW_POINTS: 1}
    assert read(first(segmentation=[part])).report == {NO_PART: 1}


def test_one_file_name_in_two_spellings(tmp_path):
    other = copy.deepcopy(GOOD)
    other["images"][0]["file_name"] = "./a.png"
    for annotation in other["annotations"]:
        annotation["id"] += 100
    for name, data in (("one", GOOD), ("two", other)):
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    images, _, annotations = merge_checked([read_coco(tmp_path / f"{name}.json") for name in ("one", "two")])
    assert len(images) == 2 and len(annotations) == 4
