"""Colours, transparency and bits of image files as 8-bit RGB, by closed forms, Pillow and OpenCV."""

import cv2
import numpy as np
import pytest
from image_kinds import difference, packed, pixels, png, saved, with_chunk, with_tag
from PIL import Image

from detdiffusion.datasets.image_reading import ImageError, inspect_header, read_image, read_rgb
from detdiffusion.datasets.image_survey import inspect_images


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


def test_what_has_no_range_is_refused(tmp_path):
    for name, dtype, message in (("f.tif", np.float32, "floating-point"), ("i.tif", np.int32, "32-bit")):
        Image.fromarray(pixels()[..., 0].astype(dtype)).save(tmp_path / name)
        for read in (read_rgb, inspect_header):
            with pytest.raises(
                ImageError, match=f"{name}: holds {message} values, whose range is unknown; save it"
            ):
                read(tmp_path / name)
