"""VOC folders as people and tools leave them: sub-folders, any case, lists of other machines, encodings of others."""

import pytest

from detdiffusion.datasets.formats.voc import read_voc
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.image_rules import use_image_rules

SIZE = (20, 16)


def xml(filename="", x=2, name="cat", more=""):
    box = f"<bndbox><xmin>{x}</xmin><ymin>3</ymin><xmax>12</xmax><ymax>9</ymax></bndbox>"
    return f"<annotation>{more}<filename>{filename}</filename><object><name>{name}</name>{box}</object></annotation>"


def read(root, **options):
    return read_voc(root, progress=False, **options)


def lefts(found):
    """file name -> left edge of its object."""
    names = {image["id"]: image["file_name"] for image in found.images}
    return {names[a["image_id"]]: a["bbox"][0] for a in found.annotations}


LAYOUTS = {
    "any case": (
        {"annotations/A.XML": xml(x=1), "jpegimages/a.JPG": SIZE, "imagesets/MAIN/Train.TXT": "a"},
        {"a.JPG": 1},
    ),
    "sub-folders with equal names": (
        {f"Annotations/{s}/a.xml": xml("a.png", x) for x, s in enumerate(("s1", "s2"), 1)}
        | {"Annotations/a.xml": xml("a.png", 3), "JPEGImages/a.png": SIZE}
        | {f"JPEGImages/{s}/a.png": SIZE for s in ("s1", "s2")},
        {"s1/a.png": 1, "s2/a.png": 2, "a.png": 3},
    ),
    "sub-folders of images alone": (
        {"Annotations/a.xml": xml("a.png", 1), "JPEGImages/deep/er/a.png": SIZE},
        {"deep/er/a.png": 1},
    ),
    "the folder is in the XML": (
        {"Annotations/1.xml": xml("a.png", 1, more="<folder>s1</folder>")}
        | {"Annotations/2.xml": xml("a.png", 2, more="<folder>s2</folder>")}
        | {f"JPEGImages/{s}/a.png": SIZE for s in ("s1", "s2")},
        {"s1/a.png": 1, "s2/a.png": 2},
    ),
    "sub-folders of XML alone": (
        {"Annotations/deep/a.xml": xml("a.png", 1), "JPEGImages/a.png": SIZE},
        {"a.png": 1},
    ),
    "no name in the XML, image in a sub-folder": (
        {"Annotations/a.xml": xml("", 1), "JPEGImages/deep/a.png": SIZE},
        {"deep/a.png": 1},
    ),
    "another suffix, image in a sub-folder": (
        {"Annotations/a.xml": xml("a.bmp", 1), "JPEGImages/deep/a.png": SIZE},
        {"deep/a.png": 1},
    ),
    "Windows path": (
        {"Annotations/a.xml": xml("C:\\me\\JPEGImages\\s\\b 1.png", 1), "JPEGImages/s/b 1.png": SIZE},
        {"s/b 1.png": 1},
    ),
    "two images of one stem": (
        {"Annotations/a.xml": xml("a.png", 1), "JPEGImages/a.png": SIZE, "JPEGImages/a.jpg": SIZE},
        {"a.png": 1},
    ),
    "name without suffix": ({"Annotations/x.xml": xml("a.b", 1), "JPEGImages/a.b.JPEG": SIZE}, {"a.b.JPEG": 1}),
    "no name in the XML": ({"Annotations/a.b.xml": xml("", 1), "JPEGImages/a.b.png": SIZE}, {"a.b.png": 1}),
    "files of macOS": (
        {"Annotations/a.xml": xml("a.png", 1), "Annotations/._a.xml": b"\0\5\x16\7", "JPEGImages/a.png": SIZE}
        | {"JPEGImages/._a.png": b"\0\5\x16\7", "__MACOSX/Annotations/._a.xml": b"\0", ".DS_Store": b""},
        {"a.png": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts(case, make_set, check_account):
    files, expected = LAYOUTS[case]
    found = read(make_set(files))
    assert lefts(found) == expected, found.summary()
    check_account(found)


@pytest.mark.parametrize("named", ["a.png", "", "C:\\x\\a.png"])
def test_the_image_of_another_annotation_file_is_never_taken(named, make_set, check_account):
    """s1 and A lack their image: those of the folder itself and of s2 are no stand-ins."""
    files = {f"Annotations/{name}.xml": xml(named) for name in ("a", "A/a", "s1/a", "s2/a")}
    found = read(
        make_set(files | {"JPEGImages/a.png": SIZE, "JPEGImages/s2/a.png": SIZE, "JPEGImages/s3/a.png": SIZE})
    )
    assert sorted(lefts(found)) == ["a.png", "s2/a.png"]
    assert found.report["annotation file without an image: left out"] == 2
    check_account(found)


def test_every_file_is_counted_by_its_reason(make_set, check_account):
    files = {
        "Annotations/a.xml": xml("a.png"),
        "Annotations/a.XML": xml("a.png"),
        "Annotations/broken.xml": "<annotation",
        "JPEGImages/broken.png": SIZE,
        "Annotations/cvat.xml": "<annotations><image/></annotations>",
        "Annotations/unlisted.xml": xml(),
        "JPEGImages/unlisted.png": SIZE,
        "Annotations/imageless.xml": xml(),
        "Annotations/torn.xml": xml(),
        "JPEGImages/torn.png": b"\x89PNG",
        "Annotations/both.xml": xml(),
        "JPEGImages/both.png": SIZE,
        "JPEGImages/both.jpg": SIZE,
        "JPEGImages/a.png": SIZE,
        "JPEGImages/lonely.png": SIZE,
        "SegmentationClass/a.png": SIZE,
        "old/a.xml": xml(),
        "ImageSets/Main/train.txt": "a\nbroken\ncvat\nimageless\ntorn\nboth",
        "ImageSets/Main/cat_train.txt": "a 1",
        "README.txt": "",
        "movie.mp4": b"",
    }
    found = read(make_set(files))
    check_account(found)
    assert lefts(found) == {"a.png": 2}
    counts = {reason: len(paths) for reason, paths in found.files.left_out().items()}
    assert counts == {
        "annotation file with a duplicate name: left out": 1,
        "annotation file in none of the splits: left out": 1,
        "broken XML, or no VOC annotation: left out": 2,
        "annotation file without an image: left out": 1,
        "annotation file that matches several images: left out": 1,
        "annotation file of an image that is left out: left out": 1,
        "image that cannot be read: left out": 1,
        "image whose annotation file is left out: left out": 4,
        "image without an annotation file: left out": 1,
        "image outside the folder JPEGImages: left out": 1,
        "XML outside the folder Annotations: left out": 1,
        "list of names that was not requested: not read": 1,
        "companion that holds no objects (README, classes.txt, …): not read": 1,
        "file of another kind: left out": 1,
    }
    assert found.report == counts
    assert "<annotations>, but that of a VOC file is <annotation>" in found.summary()


LISTS = {
    "plain": "s1/a\nb\nIMG 1",
    "suffixes": "s1/a.jpg\nb.xml\nIMG 1.JPG",
    "flags": "s1/a  1\nb -1\nIMG 1 0",
    "backslashes and line ends": "s1\\a\r\nb\r\n\r\nIMG 1\r\n",
    "folders": "JPEGImages/s1/a.png\nAnnotations/b.xml\n./JPEGImages/IMG 1.png",
    "absolute": "C:\\x\\JPEGImages\\s1\\a.png\n/x/y/JPEGImages/b.png\n/x/IMG 1",
    "pairs": "JPEGImages/s1/a.png Annotations/s1/a.xml\nJPEGImages/b.png Annotations/b.xml\nIMG 1",
    "another case": "S1/A\nB\nimg 1",
    "unique bare name": "a\nb\nIMG 1",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("case", LISTS)
def test_lines_of_lists(case, encoding, make_set, check_account):
    names = ("s1/a", "b", "IMG 1")
    files = {f"Annotations/{n}.xml": xml(x=k) for k, n in enumerate(names, 1)} | {
        f"JPEGImages/{n}.png": SIZE for n in names
    }
    files["ImageSets/Main/train.txt"] = LISTS[case].encode(encoding)
    found = read(make_set(files))
    assert lefts(found) == {"s1/a.png": 1, "b.png": 2, "IMG 1.png": 3}, found.summary()
    assert set(found.report) <= {"path in a list that does not exist here: matched by its end"}
    check_account(found)


def test_lines_that_fit_nothing_or_too_much(make_set):
    names = ("s1/a", "s2/a", "b", "b 1")
    files = {f"Annotations/{n}.xml": xml() for n in names} | {f"JPEGImages/{n}.png": SIZE for n in names}
    for line, part in (("a", "s1/a, s2/a"), ("b 1", "b 1, b")):
        root = make_set(files | {"ImageSets/Main/train.txt": f"s1/a\n{line}\n"})
        with pytest.raises(
            UserError, match=f"train.txt, line 2: '{line}' matches several annotation files: {part};"
        ):
            read(root)
    found = read(make_set(files | {"ImageSets/Main/train.txt": "s1/a\ns3/b\nC:\\s4\\a\n"}))
    assert (
        found.report["name in a list without an annotation file: left out"] == 2
    )  # b and a of other folders


def test_a_list_that_is_not_there_names_those_that_are(make_set):
    root = make_set({"Annotations/a.xml": xml(), "JPEGImages/a.png": SIZE, "ImageSets/Main/day.txt": "a"})
    with pytest.raises(
        UserError, match=r"night.txt: cannot read this list of names: .* available lists: day"
    ):
        read(root, splits=["night"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "gbk", "shift_jis", "big5"])
def test_encodings_of_xml(encoding, make_set):
    name = "é" if encoding in ("latin-1",) else "山"
    text = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>\n' + xml("a.png", 1, name)
    found = read(make_set({"Annotations/a.xml": text.encode(encoding), "JPEGImages/a.png": SIZE}))
    assert found.classes == [name] and not found.report


@pytest.mark.parametrize("declared", ["utf-8", "klingon", "zlib"])
def test_an_encoding_that_is_not_the_declared_one_is_counted(declared, make_set, check_account):
    text = f'<?xml version="1.0" encoding="{declared}"?>' + xml("a.png", 1, "é")
    found = read(make_set({"Annotations/a.xml": text.encode("latin-1"), "JPEGImages/a.png": SIZE}))
    assert found.report["broken XML, or no VOC annotation: left out"] == 1
    check_account(found)


def test_links_to_folders_are_followed(make_set, tmp_path, check_account):
    root = make_set({"Annotations/a.xml": xml("a.png", 1)})
    (tmp_path / "disk/deep").mkdir(parents=True)
    make_set({"../disk/a.png": SIZE, "../disk/deep/b.png": SIZE})
    (root / "JPEGImages").symlink_to(tmp_path / "disk")
    found = read(root)
    assert lefts(found) == {"a.png": 1} and found.report == {"image without an annotation file: left out": 1}
    assert found.files.table().startswith("3 files seen")


def test_an_earlier_output_inside_the_set_is_no_input(make_set):
    root = make_set({"a.xml": xml("a.png", 1), "a.png": SIZE})
    for _ in range(2):
        found = read(root, annotations=".", images=".", without=root / "out")
        found.write(root / "out", "copy")
        assert lefts(found) == {"a.png": 1} and not found.report


def test_an_image_above_the_limit_names_the_option_that_reads_it(make_set, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIZE[0] * SIZE[1] // 3)
    root = make_set({"Annotations/a.xml": xml("a.png", 1), "JPEGImages/a.png": SIZE})
    assert "JPEGImages/a.png: is too large; read it with --huge-images" in read(root).summary()
    use_image_rules(huge_images=True)
    assert lefts(read(root)) == {"a.png": 1}
