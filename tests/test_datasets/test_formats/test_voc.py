"""VOC to COCO: the real blood cells, and every kind of broken input counted and named."""

import json
import runpy
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.formats.voc import read_voc
from detdiffusion.utils.errors import UserError


def run_tool(repo_root, monkeypatch, capsys, *args):
    path = str(repo_root / "tools/dataset_converters/voc_to_coco.py")
    monkeypatch.setattr(sys, "argv", [path, *map(str, args)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(path, run_name="__main__")
    return end.value.code or 0, *capsys.readouterr()


def test_blood_cells(shared_dir, repo_root, tmp_path, monkeypatch, capsys):
    """All 4,888 boxes are accounted for: 4,886 converted, 2 named."""
    root = shared_dir / "data/bccd"
    code, out, _ = run_tool(repo_root, monkeypatch, capsys, root, "--out", tmp_path, "--no-decode")
    assert code == 0 and "364 images, 4886 objects: Platelets 361, RBC 4153, WBC 372" in out
    assert "2 × box of zero or negative size: left out" in out
    assert (
        "BloodImage_00338.xml, object 13, RBC [504, 337, 0, 0]" in out
        and "BloodImage_00343.xml, object 4" in out
    )
    counts = {}
    for split in ("train", "val", "trainval", "test"):
        path = tmp_path / "annotations" / f"{split}.json"
        coco, checked = COCO(str(path)), read_coco(path)
        assert checked.report == {}
        counts[split] = set(coco.getImgIds()), set(coco.getAnnIds())
        names = (root / "ImageSets/Main" / f"{split}.txt").read_text().split()
        assert [image["file_name"] for image in coco.dataset["images"]] == [f"{name}.jpg" for name in names]
        assert all(
            (tmp_path / "images" / f"{name}.jpg").samefile(root / "JPEGImages" / f"{name}.jpg")
            for name in names
        )
    assert [len(images) for images, _ in counts.values()] == [205, 87, 292, 72]
    assert counts["trainval"][0] == counts["train"][0] | counts["val"][0]
    assert not counts["trainval"][0] & counts["test"][0] and not counts["trainval"][1] & counts["test"][1]
    # boxes are those of the XML files
    coco = COCO(str(tmp_path / "annotations/train.json"))
    for image in coco.dataset["images"][::40]:
        tree = ElementTree.parse(root / "Annotations" / image["file_name"].replace(".jpg", ".xml"))
        corners = [[float(v.text) for v in box] for box in tree.iter("bndbox")]
        expected = sorted([x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in corners)
        assert sorted(a["bbox"] for a in coco.loadAnns(coco.getAnnIds(image["id"]))) == expected


def xml(name, objects, size=(20, 16), **more):
    body = "".join(
        f"<object><name>{n}</name><difficult>{d}</difficult><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin>"
        f"<xmax>{b[2]}</xmax><ymax>{b[3]}</ymax></bndbox></object>"
        for n, d, b in objects
    )
    size = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation><filename>{more.get('filename', name + '.png')}</filename>{size}{body}</annotation>"


@pytest.fixture
def voc(tmp_path):
    """Builder of a VOC folder: name -> XML text; every name gets an image."""

    def build(files, images=None, lists=None):
        for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (tmp_path / "voc" / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / f"voc/Annotations/{name}.xml").write_text(text)
        pixels = np.random.default_rng(0).integers(0, 255, (16, 20, 3), dtype=np.uint8)
        for name in images if images is not None else [f"{name}.png" for name in files]:
            Image.fromarray(pixels).save(tmp_path / "voc/JPEGImages" / name)
        for name, lines in (lists or {}).items():
            (tmp_path / f"voc/ImageSets/Main/{name}.txt").write_text("\n".join(lines))
        return tmp_path / "voc"

    return build


GOOD = xml("a", [("cat", 0, (2, 3, 12, 9)), ("dog", 1, (1, 1, 5, 5))])


def test_difficult_objects_and_one_based_coordinates(voc):
    root = voc({"a": GOOD})
    crowd = read_voc(root, progress=False)
    assert [(a["bbox"], a["iscrowd"]) for a in crowd.annotations] == [([2, 3, 10, 6], 0), ([1, 1, 4, 4], 1)]
    assert [a["iscrowd"] for a in read_voc(root, difficult="keep", progress=False).annotations] == [0, 0]
    assert len(read_voc(root, difficult="drop", progress=False).annotations) == 1
    # VOC's first pixel is 1 and both ends are inside: 2..12 are 11 pixels from 1 on
    assert read_voc(root, one_based=True, progress=False).annotations[0]["bbox"] == [1, 2, 11, 7]
    assert crowd.splits == {"all": [1]} and crowd.classes == ["cat", "dog"]


def test_chosen_classes_keep_their_order_and_the_others_are_counted(voc):
    found = read_voc(voc({"a": GOOD}), classes=["dog"], progress=False)
    assert [a["category_id"] for a in found.annotations] == [1]
    assert found.report["object of a class that was not requested: left out"] == 1


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


SPOILED = {
    "broken xml": (lambda r: (r / "Annotations/b.xml").write_text("<annotation><obj"), "broken XML", "b.xml"),
    "binary xml": (lambda r: (r / "Annotations/b.xml").write_bytes(b"\x89PNG\xff\x00"), "broken XML", "b.xml"),
    "cut-off image": (lambda r: truncate(r / "JPEGImages/b.png"), "cannot be read", "b.png"),
    "no image at all": (lambda r: (r / "JPEGImages/b.png").write_text("text"), "cannot be read", "b.png"),
    "missing image": (lambda r: (r / "JPEGImages/b.png").unlink(), "without an image", "b.xml"),
    "other size": (
        lambda r: (r / "Annotations/b.xml").write_text(xml("b", [("cat", 0, (1, 1, 5, 5))], size=(16, 20))),
        "another size",
        "16 x 20",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILED)
def test_images_that_cannot_be_used_are_left_out_counted_and_named(case, voc):
    spoil, reason, where = SPOILED[case]
    root = voc({"a": GOOD, "b": GOOD.replace("a.png", "b.png")})
    spoil(root)
    found = read_voc(root, progress=False)
    assert [image["file_name"] for image in found.images] == ["a.png"]
    (text, places), *_ = [(r, e) for r, e in found.examples.items() if reason in r]
    assert found.report[text] == 1 and where in places[0]
    assert reason in found.summary()


BOXES = {
    "no area": ((4, 4, 4, 9), "zero or negative size"),
    "turned": ((9, 4, 4, 9), "zero or negative size"),
    "outside": ((25, 1, 30, 5), "outside its image"),
    "not a number": (("x", 1, 3, 5), "without a box of four numbers"),
    "infinite": (("inf", 1, 3, 5), "without a box of four numbers"),
    "empty": (("", 1, 3, 5), "without a box of four numbers"),
}


@pytest.mark.parametrize("case", BOXES)
def test_bad_boxes_are_left_out_counted_and_named(case, voc):
    box, reason = BOXES[case]
    found = read_voc(voc({"a": xml("a", [("cat", 0, (2, 3, 12, 9)), ("cat", 0, box)])}), progress=False)
    assert len(found.annotations) == 1
    (text,) = found.report
    assert reason in text and "a.xml, object 2" in found.examples[text][0]


def test_boxes_that_reach_out_are_clipped_and_counted(voc):
    found = read_voc(voc({"a": xml("a", [("cat", 0, (12, 3, 29, 9))])}), progress=False)
    assert found.annotations[0]["bbox"] == [12, 3, 8, 6] and sum(found.report.values()) == 1


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "..\\a.png", "other.png", "a.jpg"])
def test_file_names_of_the_xml_never_leave_the_folder(name, voc, tmp_path):
    """A name that leaves the folder, or a wrong suffix: the image of the XML's own name is taken, and counted."""
    found = read_voc(voc({"a": xml("a", [("cat", 0, (2, 3, 12, 9))], filename=name)}), progress=False)
    assert found.images[0]["file_name"] == "a.png" and sum(found.report.values()) == 1
    found.write(tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "voc"]
    assert sorted(p.name for p in (tmp_path / "out").rglob("*")) == [
        "a.png",
        "all.json",
        "annotations",
        "images",
    ]


def test_images_without_an_annotation_file_and_two_files_for_one_image(voc):
    twice = {"a": GOOD, "b": GOOD}  # both say a.png
    found = read_voc(voc(twice, images=["a.png", "b.png", "lonely.jpg"]), progress=False)
    assert [image["file_name"] for image in found.images] == ["a.png"]
    assert (
        "annotation file whose image has another already: left out (Annotations/b.xml: JPEGImages/a.png)"
        in found.summary()
    )
    assert "image without an annotation file: left out (JPEGImages/lonely.jpg)" in found.summary()


def test_an_image_is_read_as_what_it_is_whatever_its_suffix(voc):
    root = voc({"a": GOOD}, images=["a.png"])
    (root / "JPEGImages/a.png").rename(root / "JPEGImages/a.jpg")
    found = read_voc(root, progress=False)
    assert found.images[0]["file_name"] == "a.jpg" and len(found.annotations) == 2
    assert found.report["no image with the name in the XML: the XML's own name is used"] == 1


def test_lists_of_names(voc):
    lists = {"train": ["a  1", "a", "gone"], "val": []}
    found = read_voc(voc({"a": GOOD, "b": GOOD.replace("a.png", "b.png")}, lists=lists), progress=False)
    assert found.splits == {"train": [1], "val": []}
    assert {
        "name in a list without an annotation file: left out": 1,
        "duplicate name in a list: used once": 1,
    }.items() <= (dict(found.report).items())
    assert found.report["annotation file in none of the splits: left out"] == 1


def test_a_file_of_ones_own_is_not_replaced(voc, tmp_path):
    found = read_voc(voc({"a": GOOD}), progress=False)
    (tmp_path / "out/images").mkdir(parents=True)
    (tmp_path / "out/images/a.png").write_text("mine")
    with pytest.raises(UserError, match="already exists"):
        found.write(tmp_path / "out")
    assert (tmp_path / "out/images/a.png").read_text() == "mine"


def test_copies_and_reruns(voc, tmp_path):
    found = read_voc(voc({"a": GOOD}), progress=False)
    for placing in ("copy", "copy", "link"):
        found.write(tmp_path / "out", placing)
    copied = tmp_path / "out/images/a.png"
    assert not copied.is_symlink() and copied.read_bytes() == (tmp_path / "voc/JPEGImages/a.png").read_bytes()
    for _ in range(2):
        found.write(tmp_path / "linked")
    assert (tmp_path / "linked/images/a.png").is_symlink()
    assert json.loads((tmp_path / "out/annotations/all.json").read_text())["categories"][1]["name"] == "dog"


def test_a_class_that_no_object_has_is_an_error_with_near_matches(voc):
    root = voc({"a": GOOD})
    for asked, part in (
        (["cat", "dgo"], r"'dgo' \(near matches: dog\)"),
        (["CAT"], r"'CAT' \(near matches: cat\)"),
        (["zebra"], r"'zebra' \(available names: cat, dog\)"),
        (["cat", "cat"], "a name is given twice"),
    ):
        with pytest.raises(UserError, match=f"`classes`: .*{part}"):
            read_voc(root, classes=asked, progress=False)


def test_class_names_that_differ_by_case_are_said_and_spaces_are_one(voc):
    objects = [("Cat", 0, (1, 1, 5, 5)), ("cat", 0, (2, 2, 6, 6)), (" red \n cat ", 0, (3, 3, 8, 8))]
    found = read_voc(voc({"a": xml("a", objects)}), progress=False)
    assert found.classes == ["Cat", "cat", "red cat"]
    assert found.report == {"class whose names differ only by case: kept apart": 1}
    assert "Cat 1, cat 1" in found.summary()


def test_what_an_object_has_beside_its_box_is_counted(voc):
    box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>12</xmax><ymax>9</ymax></bndbox>"
    part = f"<part><name>head</name>{box.replace('>2<', '>4<')}</part>"
    bodies = {
        "two parts": f"{part}{part}{box}",
        "polygon": f"{box}<polygon><x1>2</x1><y1>3</y1><x2>12</x2><y2>9</y2></polygon>",
        "no box": "<polygon><x1>2</x1><y1>3</y1><x2>12</x2><y2>9</y2></polygon>",
        "part alone": part,
        "two boxes": box * 2,
    }
    objects = "".join(f"<object><name>cat</name>{body}</object>" for body in bodies.values())
    found = read_voc(voc({"a": f"<annotation>{objects}</annotation>"}), progress=False)
    assert [a["bbox"] for a in found.annotations] == [[2, 3, 10, 6]] * 2
    assert found.report == {
        "part of an object: not converted": 2,
        "polygon or rotated box of an object: not converted, its upright box is taken": 1,
        "object without a box of four numbers: left out": 2,
        "object with several boxes: left out": 1,
    }


def test_no_object_at_all_is_an_error_that_says_where_it_looked(voc, tmp_path):
    found = read_voc(voc({"a": "<annotation><filename>a.png</filename></annotation>"}), progress=False)
    with pytest.raises(
        UserError, match=r"no objects in 1 images; <object> with <bndbox> .* 1 XML files below .*Annotations"
    ):
        found.write(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_errors_of_the_tool(voc, repo_root, tmp_path, monkeypatch, capsys):
    root = voc({"a": GOOD})
    for args, part in (
        ((tmp_path / "none", "--out", tmp_path / "o"), f"did you mean {root}?"),
        ((root / "JPEGImages", "--out", tmp_path / "o"), f"did you mean {root}?"),
        (
            (tmp_path, "--out", tmp_path / "o"),
            "Annotations: no such folder; a VOC data set contains 'Annotations' and",
        ),
        ((root, "--out", tmp_path / "o", "--splits", "nope"), "cannot read this list"),
        ((root, "--out", tmp_path / "o", "--splits", "../x"), "leaves its folder"),
        ((root, "--out", root / "Annotations/a.xml"), "a.xml"),
    ):
        code, _, err = run_tool(repo_root, monkeypatch, capsys, *args)
        assert code == 2 and part in err and "Traceback" not in err
    (root / "JPEGImages/a.png").write_text("no image")
    code, _, err = run_tool(repo_root, monkeypatch, capsys, root, "--out", tmp_path / "o")
    assert code == 2 and "no images left" in err and "a.png" in err
