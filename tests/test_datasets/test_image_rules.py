"""Turned and huge images: refused without a rule, and read as the rule of the user or a config says."""

import argparse
import struct

import pytest
from image_kinds import FORMATS, RULES, TURN, difference, oriented, pixels, saved, with_chunk
from PIL import Image, ImageOps

from detdiffusion.datasets.image_reading import ImageError, image_size, inspect_header, read_image, read_rgb
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.image_rules import (
    ImageRules,
    add_image_options,
    image_rules,
    rules_of_config,
    use_image_rules,
    use_rules_of_config,
)


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


def test_damaged_exif_data_says_nothing(tmp_path):
    rgb = pixels()
    (tmp_path / "a.jpg").write_bytes(
        saved(rgb, "jpeg", quality=98, exif=b"Exif\0\0nothing that is a directory")
    )
    assert difference(read_rgb(tmp_path / "a.jpg"), rgb) < 20
    (tmp_path / "b.png").write_bytes(oriented("png", rgb, 9))
    assert difference(read_rgb(tmp_path / "b.png"), rgb) == 0


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
