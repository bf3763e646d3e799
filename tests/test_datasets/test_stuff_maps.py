"""Stuff from pixel maps: the same stuff json as MiniScenes writes itself; masks and boxes stay together after it."""

import json

import cv2
import numpy as np
import pytest
import torch
from image_kinds import packed, png
from PIL import Image
from pycocotools.coco import COCO

from detdiffusion.datasets import LayoutCocoDataset
from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.formats.stuff_maps import coco_stuff_categories, convert_stuff_maps, read_map
from detdiffusion.datasets.miniscenes import write_miniscenes
from detdiffusion.utils.errors import UserError


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """MiniScenes, and its stuff as one PNG an image."""
    folder = write_miniscenes(tmp_path_factory.mktemp("maps"), "train", 12, size=64)
    stuff = COCO(str(folder / "stuff.json"))
    (folder / "maps").mkdir()
    for image in stuff.dataset["images"]:
        labels = np.zeros((64, 64), np.uint8)
        for annotation in stuff.loadAnns(stuff.getAnnIds(image["id"])):
            labels[stuff.annToMask(annotation) > 0] = annotation["category_id"]
        name = image["file_name"].rpartition(".")[0]
        cv2.imwrite(str(folder / f"maps/{name}.png"), labels)
    return folder


def test_the_classes_are_coco_stuffs():
    categories = {c["id"]: c["name"] for c in coco_stuff_categories()}
    assert list(categories) == list(range(92, 183)) and len(set(categories.values())) == 91
    assert [categories[i] for i in (92, 124, 157, 169, 182)] == [
        "banner",
        "grass",
        "sky-other",
        "tree",
        "wood",
    ]
    assert list(categories.values()) == sorted(
        categories.values()
    )  # as the project says: in alphabetical order


@pytest.mark.parametrize("offset, workers", [(0, 1), (1, 2)])
def test_maps_give_the_stuff_json_they_were_made_from(scenes, tmp_path, offset, workers):
    maps = scenes / "maps"
    if offset:  # as in stuffthingmaps: values count from 0, 255 is void
        maps = tmp_path / "maps"
        maps.mkdir()
        for path in (scenes / "maps").iterdir():
            cv2.imwrite(str(maps / path.name), cv2.imread(str(path), cv2.IMREAD_UNCHANGED) - 1)
    out = tmp_path / "stuff.json"
    counts = convert_stuff_maps(
        maps, scenes / "instances.json", out, scenes / "stuff.json", offset=offset, workers=workers
    )
    made, source = COCO(str(out)), COCO(str(scenes / "stuff.json"))
    assert counts["annotations"] == len(made.anns) == len(source.anns) and not counts["images without a map"]
    assert min(made.anns) > max(COCO(str(scenes / "instances.json")).anns)
    for image in source.imgs:
        by_class = [
            {a["category_id"]: a for a in coco.loadAnns(coco.getAnnIds(image))} for coco in (made, source)
        ]
        assert by_class[0].keys() == by_class[1].keys()
        for category, annotation in by_class[0].items():
            assert (made.annToMask(annotation) == source.annToMask(by_class[1][category])).all()
            assert annotation["area"] == made.annToMask(annotation).sum()
            assert annotation["bbox"] == by_class[1][category]["bbox"]


def test_bad_maps_are_one_message(scenes, tmp_path):
    def convert(maps, **options):
        convert_stuff_maps(maps, scenes / "instances.json", tmp_path / "out.json", **options)

    with pytest.raises(UserError, match="nowhere: no such folder"):
        convert("nowhere")
    with pytest.raises(UserError, match="12 of 12 have no map with their name"):
        convert(tmp_path)
    name = next((scenes / "maps").iterdir()).name
    for shape, part in (
        ((32, 64), "has 64 x 32 pixels, the json says 64 x 64"),
        ((64, 64, 3), "has colours"),
    ):
        cv2.imwrite(str(tmp_path / name), np.zeros(shape, np.uint8))
        with pytest.raises(UserError, match=part):
            convert(tmp_path)
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("size", [(64, 64), (456, 800), (40, 24)])
def test_image_masks_and_boxes_are_resized_and_flipped_together(scenes, size):
    """Every mask fills its box at any size, mirrored too, and shows the object's own pixels."""
    steps = [dict(type="LoadLayoutImage", size=size), dict(type="LoadLayoutMasks")]
    options = dict(filter_cfg=dict(min_objects=1))
    files = ["instances.json", "stuff.json"]
    for prob in (0.0, 1.0):
        data = LayoutCocoDataset(
            files,
            "images",
            scenes,
            [*steps, dict(type="RandomFlipLayout", prob=prob), dict(type="PackLayoutInputs")],
            **options,
        )
        height, width = size
        for item, source in zip((data[i] for i in range(6)), data.layouts):
            layout = item["data_samples"].layout
            assert item["inputs"].shape == (3, *size) and layout.masks.shape == (len(layout), *size)
            for mask, box, before in zip(layout.masks, layout.boxes, source.boxes):
                ys, xs = torch.nonzero(mask, as_tuple=True)
                found = torch.tensor(
                    [xs.min() / width, ys.min() / height, (xs.max() + 1) / width, (ys.max() + 1) / height]
                )
                cell = 1 / 64 + max(1 / height, 1 / width)
                torch.testing.assert_close(found, box, atol=cell, rtol=0)
                if prob:
                    torch.testing.assert_close(box[[0, 2]], 1 - before[[2, 0]])
        plain = LayoutCocoDataset(files, "images", scenes, [*steps, dict(type="PackLayoutInputs")], **options)
        a, b = plain[0], data[0]
        if prob:
            assert b["inputs"].equal(a["inputs"].flip(-1))
            assert b["data_samples"].layout.masks.equal(a["data_samples"].layout.masks.flip(-1))


@pytest.mark.parametrize(
    ("depth", "colour"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (1, 3), (2, 3), (4, 3), (8, 3)]
)
def test_numbers_are_read_as_the_file_holds_them(depth, colour, tmp_path):
    """Grey values and palette indices of all depths that PNG has; decoders stretch the small ones."""
    numbers = np.random.default_rng(depth).integers(0, 2**depth, (5, 16))
    palette = (
        bytes(np.random.default_rng(0).integers(0, 256, 3 * 2**depth, dtype=np.uint8)) if colour else b""
    )
    path = tmp_path / "map.png"
    path.write_bytes(png(16, 5, depth, colour, packed(numbers, depth), palette))
    assert (read_map(path, dict(id=1, width=16, height=5)) == numbers).all()


MAPS = {
    "in the images' folders": ["x/a.png", "y/a.png", "b.png"],
    "any case": ["X/A.PNG", "y/a.Png", "B.png"],
    "one of them by its bare name": ["x/a.png", "y/a.png", "elsewhere/b.png"],
    "others beside them": ["x/a.png", "y/a.png", "b.png", "a.png", "._b.png", "c.txt"],
}


@pytest.fixture
def three_images(tmp_path):
    """Instances of x/a.jpg, y/a.jpg, b.jpg; a function that writes maps whose number is their place in a list."""
    images = [
        dict(id=k, file_name=n, width=4, height=4) for k, n in enumerate(("x/a.jpg", "y/a.jpg", "b.jpg"))
    ]
    data = dict(images=images, annotations=[], categories=[dict(id=1, name="cup")])
    (tmp_path / "instances.json").write_text(json.dumps(data))

    def convert(names):
        for number, name in enumerate(names):
            path = tmp_path / "maps" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            ok, data = cv2.imencode(".png", np.full((4, 4), 92 + number, np.uint8))
            path.write_bytes(data.tobytes())
        return convert_stuff_maps(tmp_path / "maps", tmp_path / "instances.json", tmp_path / "stuff.json")

    return convert


def test_a_map_is_never_that_of_two_images(three_images, tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(path.read_text().replace("y/a.jpg", "x/a.png"))
    with pytest.raises(
        UserError, match=r"a.png: the map of x/a.png \(image id 1\) already belongs to another image"
    ):
        three_images(["x/a.png", "b.png"])


@pytest.mark.parametrize("case", MAPS)
def test_every_image_has_its_own_map(case, three_images, tmp_path):
    counts = three_images(MAPS[case])
    made = json.loads((tmp_path / "stuff.json").read_text())["annotations"]
    assert {a["image_id"]: a["category_id"] for a in made} == {0: 92, 1: 93, 2: 94}
    rest = {name: count for name, count in counts.items() if "left out" in name}
    others = {
        "maps without an image: left out": 1,
        "hidden file: left out": 1,
        "file of another kind: left out": 1,
    }
    assert rest == (others if "others" in case else {})


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (["a.png", "b.png"], r"a.png: 2 images have the name of this map, e.g. x/a.jpg \(image id 0\)"),
        (
            ["x/a.png", "y/a.png", "s/b.png", "t/b.png"],
            r"b.jpg \(image id 2\): several maps have its name: s/b.png, t/b.png",
        ),
    ],
)
def test_names_that_do_not_tell_maps_apart_are_errors(names, part, three_images, tmp_path):
    with pytest.raises(UserError, match=part):
        three_images(names)
    assert not (tmp_path / "stuff.json").exists()


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("JPEG", "is a JPEG file under another name"),
        ("RGBA", "has colours"),
        ("LA", "has colours"),
        ("cut", "cannot be read"),
    ],
)
def test_maps_that_do_not_hold_numbers(kind, part, tmp_path):
    path = tmp_path / "a.png"
    if kind == "JPEG":
        Image.new("L", (64, 64), 3).save(path, "JPEG")
    else:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).convert(
            kind if kind != "cut" else "L"
        ).save(path)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=f"a.png: {part}"):
        read_map(path, dict(id=1, width=64, height=64))


def test_counts_are_in_the_json_of_the_tool(scenes, tmp_path, capsys):
    import runpy
    import sys
    from unittest import mock

    args = ["stuff_maps.py", str(scenes / "maps"), "--instances", str(scenes / "instances.json")]
    args += ["--categories", str(scenes / "stuff.json"), "--out", str(tmp_path / "o.json")]
    with mock.patch.object(sys, "argv", args), pytest.raises(SystemExit) as end:
        runpy.run_path("tools/dataset_converters/stuff_maps.py", run_name="__main__")
    assert end.value.code == 0
    count = len(json.loads((tmp_path / "o.json").read_text())["annotations"])
    assert f"annotations: {count}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("highest", "fits"), [(2**63 - 4, True), (2**63 - 3, False), (2**63 - 1, False)])
def test_ids_that_have_no_room_behind_the_highest(three_images, tmp_path, highest, fits):
    path = tmp_path / "instances.json"
    box = dict(id=highest, image_id=0, category_id=1, bbox=[0, 0, 3, 3], area=9)
    path.write_text(json.dumps(dict(json.loads(path.read_text()), annotations=[box])))
    if fits:
        assert three_images(MAPS["any case"])["annotations"] == 3
        assert max(a["id"] for a in read_coco(tmp_path / "stuff.json").annotations) == 2**63 - 1
        return
    with pytest.raises(
        UserError, match=f"instances.json: its highest annotation id is {highest}.*number the"
    ):
        three_images(MAPS["any case"])
    assert not (tmp_path / "stuff.json").exists()


@pytest.mark.parametrize("category", [65536 + 92, 2**31, 2**63 - 1])
def test_categories_and_offsets_of_any_size(three_images, tmp_path, category):
    three_images(MAPS["any case"])
    categories = tmp_path / "categories.json"
    categories.write_text(json.dumps(dict(images=[], categories=[dict(id=category, name="sky")])))
    paths = tmp_path / "maps", tmp_path / "instances.json", tmp_path / "stuff.json", categories
    counts = convert_stuff_maps(*paths, offset=category - 92)
    (made,) = json.loads((tmp_path / "stuff.json").read_text())["annotations"]
    assert (made["category_id"], made["image_id"], made["area"]) == (category, 0, 16)
    assert counts["pixels of no stuff class"] == 32
    for offset in (2**80, -(2**80)):
        with pytest.raises(UserError, match="check the folder and `offset`"):
            convert_stuff_maps(*paths, offset=offset)
