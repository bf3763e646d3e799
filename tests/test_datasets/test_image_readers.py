"""Every reader of images beside the others, and files that are cut off, missing or no images."""

import json

import numpy as np
import pytest
from image_kinds import RULES, difference, oriented, pixels, saved
from option_values import browse
from PIL import Image

from detdiffusion.datasets.image_reading import ImageError, inspect_header, read_rgb
from detdiffusion.datasets.image_survey import inspect_images, survey_images
from detdiffusion.datasets.transforms import LoadLayoutImage
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.image_rules import use_image_rules


def test_big_tiff(tmp_path):
    data = saved(pixels(), "tiff", big_tiff=True)
    (tmp_path / "a.tif").write_bytes(data)
    assert difference(read_rgb(tmp_path / "a.tif"), pixels()) == 0
    assert inspect_header(tmp_path / "a.tif") == ((64, 40), "TIFF", [])
    (tmp_path / "a.tif").write_bytes(data[:2000])
    assert survey_images([tmp_path / "a.tif"]).unusable


TRUNCATED = {
    "jpeg": {},
    "png": {},
    "bmp": {},
    "webp": {},
    "webp-lossless": dict(lossless=True),
    "gif": {},
    "tiff": {},
    "tiff-lzw": dict(compression="tiff_lzw"),
    "tiff-jpeg": dict(compression="jpeg"),
    "ppm": {},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", TRUNCATED)
def test_files_that_end_too_early(tmp_path, kind):
    """At every length a file is refused, or nothing is missing; a look at the header alone misses little."""
    noise = np.random.default_rng(0).integers(0, 60, (48, 64, 3))
    image = Image.fromarray(np.clip(pixels(48, 64) + noise, 0, 255).astype(np.uint8))
    image = image.convert("P") if kind == "gif" else image
    data = saved(image, kind.split("-")[0], **TRUNCATED[kind])
    path = tmp_path / "a"
    path.write_bytes(data)
    whole, refused = np.asarray(read_rgb(path)), 0
    assert not survey_images([path]).unusable
    for length in [*np.linspace(1, len(data) - 1, 16, dtype=int), *range(len(data) - 8, len(data))]:
        path.write_bytes(data[:length])
        try:
            same = np.array_equal(np.asarray(read_rgb(path)), whole)
            assert same, length
        except ImageError:
            refused += 1
            assert survey_images([path]).unusable, length
    assert refused > 12


def test_many_files_are_looked_at_before_a_run(tmp_path):
    for k in range(6):
        (tmp_path / f"{k}.jpg").write_bytes(oriented("jpeg", pixels(), 1 + k % 3))
    (tmp_path / "6.jpg").write_bytes(b"no image")
    paths = [tmp_path / f"{k}.jpg" for k in range(8)]
    with pytest.raises(UserError) as error:
        inspect_images(paths)
    lines = str(error.value).splitlines()
    assert len(lines) == 3 and "4 × image that is turned" in lines[0] and "1.jpg" in lines[0]
    use_image_rules("apply")
    facts = survey_images(paths)
    assert facts.notes("real") == ["real: 4 images turned or mirrored as their EXIF orientation says"]
    assert facts.sizes == {(64, 40): paths[:6]} and len(facts.unusable) == 2
    texts = [str(finding) for finding in facts.findings(tmp_path)]
    assert "6.jpg: image that cannot be read" in texts[0] and "7.jpg: image that is missing" in texts[1]


def by_layouts(folder, image):
    layout = Layout([[0, 0, 1, 1]], ["ball"], image_id=1, width=image["width"], height=image["height"])
    step = LoadLayoutImage(size=(image["height"], image["width"]))
    return step(dict(img_path=str(folder / image["file_name"]), layout=layout))["img"]


def by_detectors(folder, image):
    pytest.importorskip("mmdet")
    import mmdet.datasets.transforms  # noqa: F401  registers the step

    from detdiffusion.datasets.checked_coco import CheckedCocoDataset

    data = CheckedCocoDataset(
        ann_file=str(folder / "ann.json"),
        data_prefix=dict(img=str(folder)),
        metainfo=dict(classes=("ball",)),
        pipeline=[dict(type="mmdet.LoadImageFromFile")],
        test_mode=True,
    )
    return data[0]["img"][..., ::-1]


def by_sheets(folder, image):
    (sheet,) = browse([folder / "ann.json"], folder / "out", img_dir=folder, side=64, no_masks=True)
    return np.asarray(Image.open(sheet))[: image["height"], : image["width"]]


@pytest.mark.parametrize("read", [by_layouts, by_detectors, by_sheets])
def test_every_reader_reads_alike(tmp_path, monkeypatch, read):
    """The case of each kind that readers are prone to differ in; none of them has a rule of its own."""
    rgb = pixels(64, 64)
    grey12 = (rgb[..., 0].astype(np.uint16) << 4) | (rgb[..., 0] >> 4)
    files = {
        "turned.jpg": oriented("jpeg", rgb, 3),
        "turned.tif": oriented("tiff", rgb, 6),
        "late.png": oriented("png-late", rgb, 2),
        "deep.png": saved(grey12, "png"),
        "clear.png": saved(np.dstack([rgb, rgb[..., 0]]), "png"),
        "grey.jpg": saved(rgb[..., 0], "jpeg"),
        "cmyk.jpg": saved(Image.fromarray(rgb).convert("CMYK"), "jpeg"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        image = dict(id=1, file_name=name, width=64, height=64)
        box = dict(id=1, image_id=1, category_id=1, bbox=[60, 60, 4, 4], area=16, iscrowd=0)
        ann = dict(images=[image], annotations=[box], categories=[dict(id=1, name="ball")])
        (tmp_path / "ann.json").write_text(json.dumps(ann))
        if "turned" in name or "late" in name:
            with pytest.raises(UserError, match="EXIF orientation|no image to show"):
                read(tmp_path, image)
        for rule in RULES:
            use_image_rules(rule)
            found, expected = read(tmp_path, image), np.asarray(read_rgb(tmp_path / name))
            assert difference(found[:40], expected[:40]) == 0, (name, rule)
        monkeypatch.setenv("DETDIFFUSION_EXIF_ORIENTATION", "")
        (tmp_path / name).write_bytes(data[: 2 * len(data) // 3])
        with pytest.raises(UserError, match="is cut off|cannot be read|no image to show"):
            read(tmp_path, image)
