"""Folders of images as methods name and write them: to which layout each image belongs, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image
from square_detector import draw, evaluate, make

from detdiffusion import apis
from detdiffusion.datasets.image_reading import read_bgr
from detdiffusion.evaluation import yolo_score
from detdiffusion.evaluation.image_folders import note_images, read_folder
from detdiffusion.utils.errors import UserError


def test_modes_are_converted_and_counted(detector, data):
    root, coco, cells = data
    modes = dict(zip(cells, ("RGBA", "CMYK", "P", "RGBA", "RGB", "L")))
    (root / "modes").mkdir()
    for i, mode in modes.items():
        draw(cells[i], (64, 64) if mode != "L" else (96, 64)).convert(mode).save(root / "modes" / f"{i}.tif")
    result = evaluate(detector, root, {"modes": root / "modes"})
    for note in (
        "2 images with transparency put on white",
        "1 CMYK images converted to RGB",
        "1 grayscale images converted to RGB",
        "1 palette images converted to RGB",
    ):
        assert f"modes: {note}" in result["notes"]
    assert "modes: 1 of 6 images have another size than the 64 x 64 of most" in result["notes"]
    # all but the grey one are read as they were
    assert result["sets"]["modes"]["filtered_bbox_mAP"] > 0.75
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    clear.save(root / "clear.png")
    assert (read_bgr(root / "clear.png", size=16) == 255).all()
    blue = Image.new("RGB", (8, 4), (0, 0, 255))
    blue.save(root / "blue.png")
    assert read_bgr(root / "blue.png", size=16)[3, 3].tolist() == [255, 0, 0]  # BGR


def test_bad_folders(detector, data):
    root, coco, cells = data
    (root / "empty").mkdir()

    def read(name):
        return read_folder("x", root / name, coco["images"], coco["categories"], root / "instances.json")

    with pytest.raises(UserError, match="x: .*empty: no images in this folder"):
        read("empty")
    with pytest.raises(UserError, match="no such image folder"):
        read("none")
    draw([], (8, 8)).save(root / "empty" / "sample.png")
    with pytest.raises(
        UserError, match="none of its 1 images belongs .* files are named sample.png, layouts COCO_"
    ):
        read("empty")
    draw([], (8, 8)).save(root / "empty" / "139.png")
    folder = read("empty")
    assert folder.notes == ["x: 1 files belong to no layout and were left out (sample.png)"]
    (root / "empty" / "more").mkdir()
    draw([], (8, 8)).save(root / "empty" / "more" / "146.PNG")
    assert "1 images in subfolders of" in (note := read("empty").notes[0]) and "left out (146.PNG)" in note
    draw([], (8, 8)).save(root / "empty" / "0139.jpg")
    with pytest.raises(UserError, match="0139.jpg and 139.png are both sample 0 of image id 139"):
        read("empty")
    (root / "empty" / "0139.jpg").unlink()
    (root / "empty" / "146.png").write_text("<html>")
    with pytest.raises(UserError, match="146.png: cannot be read as an image"):
        note_images(read("empty"))
    Image.fromarray(np.full((8, 8), 65535, np.uint16)).save(root / "empty" / "146.png")
    folder = read("empty")
    note_images(folder)
    assert "x: 1 16-bit images cut to 8 bit" in folder.notes
    whole = (root / "real" / coco["images"][0]["file_name"]).read_bytes()
    (root / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cut.png: is cut off"):
        read_bgr(root / "cut.png", size=64)
    other = make(root / "other", {list(cells)[1]: []}, lambda i, k: f"{i}.png")
    one = make(root / "one", {list(cells)[0]: []}, lambda i, k: f"{i}.png")
    with pytest.raises(UserError, match="no layout in common"):
        evaluate(detector, root, {"a": other, "b": one})
    real = apis.AnnotatedImages(ann=root / "instances.json", img_dir=root / "real")
    with pytest.raises(UserError, match="`synthetic`: no set may be named 'real'"):
        detector = apis.DetectorOptions(detector=("none", "none"))
        apis.score_methods(detector, real, {"real": one}, apis.ResultFolder(out=root / "out"))


def test_two_layouts_with_one_base_name(tmp_path):
    names = {1: "x/a.jpg", 2: "y/a.jpg", 3: "b.jpg", 4: "x\\a_1.png"}
    images = [dict(id=i, file_name=name, width=8, height=8) for i, name in names.items()]

    def read(*files):
        for old in tmp_path.iterdir():
            old.unlink()
        for name in files:
            (tmp_path / name).touch()
        return {
            i: [p.name for p in own]
            for i, own in read_folder("m", tmp_path, images, [], "ann.json").files.items()
        }

    assert read("1.png", "2.png", "b.png") == {1: ["1.png"], 2: ["2.png"], 3: ["b.png"]}
    assert read("a_1.png", "b_1.png") == {3: ["b_1.png"], 4: ["a_1.png"]}  # a layout's own name goes first
    for name in ("a.png", "a_2.png"):
        with pytest.raises(
            UserError, match=rf"m: .*{name} may belong to x/a.jpg, y/a.jpg of ann.json.* by image ids"
        ):
            read("b.png", name)


def test_bad_real_images_and_categories(detector, data):
    root, coco, cells = data
    method = make(root / "m", cells, lambda i, k: f"{i}.png")
    with pytest.raises(UserError, match="real: .*6 of 6 real images are missing"):
        yolo_score.evaluate(detector, root / "instances.json", root / "m", {"m": method})
    name = coco["images"][2]["file_name"]
    draw([], (64, 64)).save(root / "real" / name)
    with pytest.raises(
        UserError, match=f"{name} .*the file has 64 x 64 pixels, but the annotation file says 128 x 96"
    ):
        evaluate(detector, root, {"m": method})
    coco["categories"] = [dict(c, name=f"{c['name']} cell") for c in coco["categories"]]
    (root / "instances.json").write_text(json.dumps(coco))
    with pytest.raises(UserError, match="knows none of the data set's categories"):
        evaluate(detector, root, {"m": method})


def test_folders_of_the_generator(detector, data):
    """Named by nothing but the annotation file beside the images."""
    root, coco, cells = data
    make(root / "set", {}, None)
    make(root / "set" / "images", cells, lambda i, k: f"{900 + k}.png")
    images = [
        dict(id=900 + k, file_name=f"{900 + k}.png", width=64, height=64, source_image_id=i)
        for k, i in enumerate(cells)
    ]
    images.append(dict(id=1, file_name="1.png", width=64, height=64, source_image_id=5))
    content = dict(images=images, annotations=[], categories=coco["categories"])
    (root / "set" / "annotations.json").write_text(json.dumps(content))
    result = evaluate(detector, root, {"hard": root / "set"})
    assert result["sets"]["hard"]["filtered_bbox_mAP"] == pytest.approx(1, abs=1e-6)
    assert "hard: 1 images of other data sets were left out" in result["notes"]
    path = root / "set" / "annotations.json"
    text = path.read_text()
    changed = json.loads(text)
    changed["images"][0]["edits"] = "drop 0.5"
    path.write_text(json.dumps(changed))
    with pytest.raises(UserError, match="layouts were edited"):
        evaluate(detector, root, {"hard": root / "set"})
    changed = json.loads(text)
    changed["images"] += [dict(changed["images"][0], id=77, sample_index=0)]
    changed["images"][0]["sample_index"] = 0
    path.write_text(json.dumps(changed))
    with pytest.raises(
        UserError,
        match=r"images\[7\] \(id 77\): image id 900 has the same file name",
    ):
        evaluate(detector, root, {"hard": root / "set"})
    path.write_text(text)
    (root / "set" / "images" / "901.png").unlink()
    with pytest.raises(UserError, match="1 of 6 images of .* are missing in .*, the first 901.png"):
        evaluate(detector, root, {"hard": root / "set"})


def test_images_beside_their_own_annotations(detector, data):
    """A method's folder may hold a COCO file of its own: the images are read by name, as without it."""
    root, coco, cells = data
    make(root / "m", cells, lambda i, k: f"{i}.png")
    plain = evaluate(detector, root, {"m": root / "m"})
    own = dict(
        images=[dict(id=k, file_name=f"{i}.png", width=64, height=64) for k, i in enumerate(cells)],
        annotations=[],
        categories=[dict(id=77, name="thing")],
    )
    for content in (own, [1, 2]):
        (root / "m" / "annotations.json").write_text(json.dumps(content))
        result = evaluate(detector, root, {"m": root / "m"})
        assert result["sets"] == plain["sets"]
        assert (
            "m: its annotations.json names no layouts; the images were read by their file names"
            in result["notes"]
        )


@pytest.mark.parametrize("key", ["source_image_id", "sample_index"])
@pytest.mark.parametrize("value", [[1], "1", 1.5, True])
def test_layouts_and_samples_are_whole_numbers(data, key, value):
    root, coco, cells = data
    make(root / "set", {}, None)
    make(root / "set" / "images", cells, lambda i, k: f"{900 + k}.png")
    images = [
        dict(id=900 + k, file_name=f"{900 + k}.png", width=64, height=64, source_image_id=i, sample_index=0)
        for k, i in enumerate(cells)
    ]
    images[1][key] = value
    (root / "set" / "annotations.json").write_text(
        json.dumps(dict(images=images, annotations=[], categories=coco["categories"]))
    )
    with pytest.raises(UserError, match=f"image 901: {key} must be a whole number"):
        read_folder("x", root / "set", coco["images"], coco["categories"], root / "instances.json")
