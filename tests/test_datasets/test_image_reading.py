"""One reader for all: what a file holds, by closed forms, Pillow and OpenCV, and every reader beside the others."""

import argparse
import json
import struct

import cv2
import numpy as np
import pytest
from image_kinds import FORMATS, TURN, oriented, packed, pixels, png, saved, with_chunk, with_tag
from option_values import browse
from PIL import Image, ImageOps

from detdiffusion.datasets.image_reading import ImageError, image_size, inspect_header, read_image, read_rgb
from detdiffusion.datasets.image_survey import inspect_images, survey_images
from detdiffusion.datasets.transforms import LoadLayoutImage
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.image_rules import (
    ImageRules,
    add_image_options,
    image_rules,
    rules_of_config,
    use_image_rules,
    use_rules_of_config,
)

RULES = ("apply", "ignore")


def difference(a, b):
    return np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientations(tmp_path, kind, orientation):
    """Refused without a rule; with one, the pixels are the stored ones or those that a viewer shows."""
    path, rgb = tmp_path / "a", pixels()
    path.write_bytes(oriented(kind, rgb, orientation))
    if kind.endswith("grey"):
        rgb = rgb[..., :1].repeat(3, axis=2)
    turned = orientation != 1
    if turned:
        for read in (read_rgb, inspect_header):
            with pytest.raises(
                ImageError, match=rf"a: is turned .*\(orientation {orientation}\).*--exif-orientation"
            ):
                read(path)
    for rule in RULES:
        use_image_rules(rule)
        expected = TURN[orientation](rgb) if rule == "apply" else rgb
        found, names = read_image(path)
        assert difference(found, expected) <= (4 if kind == "jpeg" else 0)
        assert inspect_header(path)[::2] == (found.size, names)  # what the header says is what is read
        assert any("EXIF" in name for name in names) == turned
    if kind in ("jpeg", "png", "webp"):
        with Image.open(path) as file:
            assert (
                difference(
                    read_image(path, exif_orientation="apply")[0],
                    ImageOps.exif_transpose(file).convert("RGB"),
                )
                == 0
            )


def test_the_json_must_fit_the_rule(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(oriented("jpeg", pixels(40, 64), 6))
    for rule, size in zip(RULES, ((40, 64), (64, 40))):
        use_image_rules(rule)
        right = dict(id=7, width=size[0], height=size[1])
        assert read_rgb(path, right).size == size == image_size(path, decode=False)
        for read in (read_rgb, inspect_header):
            with pytest.raises(
                ImageError, match=r"image id 7\): has another size .*other --exif-orientation they agree"
            ):
                read(path, dict(id=7, width=size[1], height=size[0]))


def test_big_tiff(tmp_path):
    data = saved(pixels(), "tiff", big_tiff=True)
    (tmp_path / "a.tif").write_bytes(data)
    assert difference(read_rgb(tmp_path / "a.tif"), pixels()) == 0
    assert inspect_header(tmp_path / "a.tif") == ((64, 40), "TIFF", [])
    (tmp_path / "a.tif").write_bytes(data[:2000])
    assert survey_images([tmp_path / "a.tif"]).unusable


def test_damaged_exif_data_says_nothing(tmp_path):
    rgb = pixels()
    (tmp_path / "a.jpg").write_bytes(
        saved(rgb, "jpeg", quality=98, exif=b"Exif\0\0nothing that is a directory")
    )
    assert difference(read_rgb(tmp_path / "a.jpg"), rgb) < 20
    (tmp_path / "b.png").write_bytes(oriented("png", rgb, 9))
    assert difference(read_rgb(tmp_path / "b.png"), rgb) == 0


def test_modes(tmp_path):
    """Each as Pillow converts it; what is transparent, by hand."""
    rgb, alpha = pixels(), np.tile(np.arange(64) * 4, (40, 1)).astype(np.uint8)
    image, grey = Image.fromarray(rgb), Image.fromarray(rgb[..., 0])
    on_white = np.round(rgb * (alpha[..., None] / 255) + 255 * (1 - alpha[..., None] / 255))
    indexed = image.quantize(16)
    clear = indexed.convert("RGB")
    clear.paste("white", mask=Image.fromarray(((np.asarray(indexed) == 3) * 255).astype(np.uint8)))
    files = {
        "grey.png": (saved(grey, "png"), grey.convert("RGB"), "grayscale"),
        "bit.png": (saved(grey.convert("1"), "png"), grey.convert("1").convert("RGB"), "grayscale"),
        "bit.tif": (
            saved(grey.convert("1"), "tiff", compression="group4"),
            grey.convert("1").convert("RGB"),
            "grayscale",
        ),
        "palette.png": (saved(indexed, "png"), indexed.convert("RGB"), "palette"),
        "clear.png": (saved(indexed, "png", transparency=3), clear, "transparency"),
        "alpha.png": (saved(np.dstack([rgb, alpha]), "png"), on_white, "transparency"),
        "alpha.tif": (saved(np.dstack([rgb, alpha]), "tiff"), on_white, "transparency"),
        "alpha.webp": (
            saved(np.dstack([rgb, alpha]), "webp", lossless=True, exact=True),
            on_white,
            "transparency",
        ),
        "la.png": (saved(Image.merge("LA", [grey, Image.fromarray(alpha)]), "png"), None, "transparency"),
        "cmyk.tif": (saved(image.convert("CMYK"), "tiff"), image, "CMYK"),
        "plain.bmp": (saved(image, "bmp"), image, None),
        "moving.webp": (
            saved(image, "webp", lossless=True, save_all=True, append_images=[grey.convert("RGB")]),
            image,
            "frames",
        ),
        "moving.png": (
            saved(image, "png", save_all=True, append_images=[grey.convert("RGB")]),
            image,
            "frames",
        ),
        "moving.gif": (
            saved(indexed, "gif", save_all=True, append_images=[indexed.rotate(90)]),
            indexed.convert("RGB"),
            "frames",
        ),
        "pages.tif": (
            saved(rgb, "tiff", save_all=True, append_images=[Image.fromarray(rgb)]),
            image,
            "frames",
        ),
    }
    for name, (data, expected, word) in files.items():
        (tmp_path / name).write_bytes(data)
        found, names = read_image(tmp_path / name)
        assert found.mode == "RGB" and inspect_header(tmp_path / name)[2] == names
        assert expected is None or difference(found, expected) <= 1, name
        assert any(word in one for one in names) if word else not names, (name, names)
    facts = inspect_images(tmp_path.iterdir())
    assert facts.conversions["images of several frames or pages, the first is taken"] == 4
    assert facts.conversions["images with transparency put on white"] == 6


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("colour", [0, 2])
def test_a_transparent_colour(tmp_path, depth, colour):
    """PNG's tRNS of all depths: the pixels of one value are white, the others as without it."""
    if colour and depth < 8:
        return
    height, width, step = 4, 16, 65535 // (2**depth - 1)
    count = height * width * (3 if colour else 1)
    values = np.arange(count) * (65535 // count) if depth == 16 else np.arange(count) % 2**depth
    values = values.reshape(height, width, -1).astype(np.uint16)
    key = values[1, 3]
    rows = packed(values.reshape(height, -1), depth)
    path, name = tmp_path / "a.png", "images with transparency put on white"
    data = png(width, height, depth, colour, rows)
    path.write_bytes(data)
    plain, names = read_image(path)
    assert name not in names and difference(plain, values * step >> 8) <= 1
    path.write_bytes(with_chunk(data, b"tRNS", key.astype(">u2").tobytes()))
    found, names = read_image(path)
    assert name in names and inspect_header(path)[2] == names
    clear = (values == key).all(axis=2)
    assert (np.asarray(found)[clear] == 255).all() and 0 < clear.sum() < clear.size
    assert difference(np.asarray(found)[~clear], np.asarray(plain)[~clear]) == 0


def test_transparent_values_say_nothing_of_the_depth(tmp_path):
    """12 bits in 16, the ground marked by the largest value that 16 bits hold."""
    values = np.tile(np.arange(64, dtype=np.uint16) * 65, (8, 1))
    values[:2] = 65535
    path = tmp_path / "a.png"
    path.write_bytes(with_chunk(saved(values, "png"), b"tRNS", b"\xff\xff"))
    found, names = read_image(path)
    assert names[-1] == "16-bit images of 12 bits cut to 8 bit"
    assert (np.asarray(found)[:2] == 255).all() and difference(
        np.asarray(found)[2:, :, 0], values[2:] >> 4
    ) == 0


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("full", [4095, 65535])
def test_deep_alpha(tmp_path, channels, full):
    """Half transparent is half white, whether alpha is full at 12 bits or at 16."""
    rgb, alpha = np.full((4, 6, channels - 1), 2000, np.uint16), np.full((4, 6, 1), full // 2, np.uint16)
    alpha[0] = full
    rows = [row.astype(">u2").tobytes() for row in np.dstack([rgb, alpha])]
    path = tmp_path / "a.png"
    path.write_bytes(
        with_chunk(png(6, 4, 16, 4 if channels == 2 else 6, rows), b"sBIT", bytes([12] * channels))
    )
    found, names = read_image(path)
    assert "images with transparency put on white" in names and names[-1].startswith("16-bit images of 12")
    assert difference(np.asarray(found)[0], 2000 >> 4) <= 1
    assert difference(np.asarray(found)[1:], ((2000 >> 4) + 255) / 2) <= 2


def test_colours_multiplied_by_alpha(tmp_path):
    """TIFF's associated alpha, as Pillow reads it at 8 bits."""
    alpha = np.tile(np.linspace(0, 1, 64), (40, 1))[..., None]
    deep = (pixels() * 257.0 * alpha).astype(np.uint16)
    deep = np.dstack([deep, (alpha * 65535).astype(np.uint16)])
    stored = cv2.imencode(".tiff", deep[..., [2, 1, 0, 3]], [cv2.IMWRITE_TIFF_COMPRESSION, 1])[1].tobytes()
    path = tmp_path / "a.tif"
    path.write_bytes(with_tag(stored, 338, 1))
    expected = pixels() * alpha + 255 * (1 - alpha)
    assert difference(read_rgb(path), expected) <= 2


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff", "webp"])
def test_an_orientation_in_xmp_alone_is_none(tmp_path, kind):
    """Viewers and OpenCV do not look there, newer versions of Pillow do."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
    rgb, path = pixels(), tmp_path / "a"
    if kind == "png":
        data = with_chunk(saved(rgb, "png"), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    elif kind == "tiff":
        data = saved(rgb, "tiff", tiffinfo={700: xmp})
    elif kind == "webp":
        data = saved(rgb, "webp", lossless=True, xmp=xmp)
    else:
        exif = Image.Exif()
        exif[271] = "a camera"
        plain = saved(rgb, "jpeg", quality=98, subsampling=0, exif=exif)
        segment = b"http://ns.adobe.com/xap/1.0/\0" + xmp
        data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + plain[2:]
    path.write_bytes(data)
    found, names = read_image(path)
    assert difference(found, rgb) <= 4 and not names
    assert inspect_header(path)[::2] == ((64, 40), names)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits(tmp_path, bits, channels, suffix):
    """Values of few bits in 16 are as bright as the same picture in 8."""
    rgb = pixels()
    rgb = (
        rgb[..., 0]
        if channels == 1
        else np.dstack([rgb[..., ::-1], np.full(rgb.shape[:2], 255, np.uint8)][: channels - 2])
    )
    deep = np.round(rgb.astype(float) * ((1 << bits) - 1) / 255).astype(np.uint16)
    path = tmp_path / f"a.{suffix}"
    assert cv2.imwrite(str(path), deep)
    found, names = read_image(path)
    expected = pixels()[..., :1].repeat(3, axis=2) if channels == 1 else pixels()
    assert difference(found, expected) <= 1
    assert names[-1] == (
        "16-bit images cut to 8 bit" if bits == 16 else f"16-bit images of {bits} bits cut to 8 bit"
    )
    assert inspect_header(path)[2] == names


def test_bits_that_a_file_declares(tmp_path):
    """A dark picture of a 12-bit camera stays dark where the file says that it is one."""
    dark = np.full((4, 6), 900, np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(with_chunk(saved(dark, "png"), b"sBIT", bytes([12])))
    assert np.asarray(read_rgb(path)).max() == 900 >> 4
    path.write_bytes(saved(dark, "tiff", tiffinfo={281: 4095}))
    assert np.asarray(read_rgb(path)).max() == 900 >> 4
    path.write_bytes(saved(dark, "png"))
    assert np.asarray(read_rgb(path)).max() == 900 >> 2  # nothing says so
    path.write_bytes(
        with_chunk(saved(dark * 70, "png"), b"sBIT", bytes([12]))
    )  # spread over 16, as PNG has it
    assert np.asarray(read_rgb(path)).max() == 63000 >> 8


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


def test_what_has_no_range_is_refused(tmp_path):
    for name, dtype, message in (("f.tif", np.float32, "floating-point"), ("i.tif", np.int32, "32-bit")):
        Image.fromarray(pixels()[..., 0].astype(dtype)).save(tmp_path / name)
        for read in (read_rgb, inspect_header):
            with pytest.raises(
                ImageError, match=f"{name}: holds {message} values, whose range is unknown; save it"
            ):
                read(tmp_path / name)


def test_huge_images_have_an_option(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    Image.new("1", (15000, 12000)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    for limit in (Image.MAX_IMAGE_PIXELS, None):  # also where another library lifted Pillow's limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        for decode in (False, True):
            with pytest.raises(ImageError, match="a.png: is too large .*180000000 pixels.*--huge-images"):
                image_size(path, decode)
    use_image_rules(huge_images=True)
    assert image_size(path, decode=False) == (15000, 12000)


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


def test_rules_are_chosen_once():
    assert image_rules().exif_orientation is None
    with pytest.raises(UserError, match="exif_orientation must be one of apply, ignore or None, got 'turn'"):
        use_image_rules("turn")
    use_image_rules("ignore")
    use_rules_of_config(dict(exif_orientation="ignore", huge_images=True), "a.py")
    assert image_rules() == ImageRules("ignore", True)
    with pytest.raises(
        UserError, match="config c.py: exif_orientation is 'apply', but --exif-orientation ignore"
    ):
        use_rules_of_config(dict(exif_orientation="apply"), "c.py")


def test_rules_of_a_config_do_not_hold_for_another():
    use_rules_of_config(dict(exif_orientation="apply", huge_images=True), "a.py")
    assert image_rules() == ImageRules("apply", True)
    use_rules_of_config(dict(), "b.py")
    assert image_rules() == ImageRules()
    use_rules_of_config(dict(exif_orientation="ignore"), "c.py")
    assert image_rules() == ImageRules("ignore")
    use_image_rules("apply")  # said by the user, it stays
    use_rules_of_config(dict(), "d.py")
    assert image_rules() == ImageRules("apply")


def test_rules_of_a_detector_hold_while_it_reads():
    with rules_of_config(dict(exif_orientation="apply"), "detector.py"):
        assert image_rules() == ImageRules("apply")
        with rules_of_config(dict(exif_orientation="apply", huge_images=True), "other.py"):
            assert image_rules() == ImageRules("apply", True)
        with pytest.raises(UserError, match="config x.py: .*'ignore', but config detector.py says 'apply'"):
            with rules_of_config(dict(exif_orientation="ignore"), "x.py"):
                pass
        assert image_rules() == ImageRules("apply")
    assert image_rules() == ImageRules()
    use_rules_of_config(dict(huge_images=True), "training.py")
    with pytest.raises(RuntimeError), rules_of_config(dict(exif_orientation="ignore"), "detector.py"):
        raise RuntimeError
    assert image_rules() == ImageRules(None, True)


def test_options_of_the_tools():
    parser = argparse.ArgumentParser()
    add_image_options(parser)
    assert (
        vars(parser.parse_args([]))
        == vars(parser.parse_args(["--exif-orientation", "apply", "--huge-images"]))
        == {}
    )
    assert image_rules() == ImageRules("apply", True)


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
