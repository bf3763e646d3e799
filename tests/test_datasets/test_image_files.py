"""JPEG files that end too early: OpenCV paints the rest grey in silence, here they are named. Places to write to."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from detdiffusion.datasets import jpeg_ends
from detdiffusion.datasets.image_reading import ImageError, read_rgb
from detdiffusion.datasets.transforms import LoadLayoutImage
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import check_writable


def encoded(kind="jpeg", **options):
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.fixture
def thumbnail():
    """A JPEG whose EXIF part holds a small JPEG with an end of its own."""
    exif = b"Exif\0\0" + encoded(quality=5)
    return encoded(exif=exif), len(exif)


def cut_off(path):
    try:
        read_rgb(path)
    except ImageError as error:
        assert "is cut off" in str(error)
        return True
    return False


def test_where_an_image_ends(tmp_path, thumbnail):
    path, whole = tmp_path / "a.jpg", encoded()
    for progressive in (False, True):
        data = encoded(progressive=progressive)
        for share in (0.3, 0.6, 0.95):
            for zeros in (
                0,
                len(data) - int(share * len(data)),
            ):  # a download that was laid out and not filled
                path.write_bytes(data[: int(share * len(data))] + bytes(zeros))
                assert cv2.imread(str(path)) is not None  # what it is about
                assert cut_off(path)
    for data in (
        whole,
        whole + b"\0" * 300,
        whole + b"camera's own notes" * 50,
        thumbnail[0],
        encoded("png"),
    ):
        path.write_bytes(data)
        assert not cut_off(path)
    path.write_bytes(thumbnail[0][: thumbnail[1] + 200])  # behind the thumbnail's end
    assert cut_off(path)
    path.write_bytes(b"")
    with pytest.raises(ImageError, match="cannot be read"):
        read_rgb(path)
    with pytest.raises(ImageError, match="is missing"):
        read_rgb(tmp_path / "none.jpg")


@pytest.mark.parametrize("options", [{}, dict(progressive=True), dict(subsampling=0, quality=30)])
def test_only_missing_pixels_count(tmp_path, options):
    """The end marker alone may be missing; a few bytes more are pixels."""
    path, data = tmp_path / "a.jpg", encoded(**options)
    path.write_bytes(data)
    whole = cv2.imread(str(path))
    for lost in range(40):
        path.write_bytes(data[: len(data) - lost])
        same = np.array_equal(cv2.imread(str(path)), whole)
        if lost < 3:
            assert same and np.array_equal(np.asarray(read_rgb(path))[..., ::-1], whole)
        elif not same:
            assert cut_off(path), lost


def test_what_lies_behind_an_image_is_judged_once(tmp_path, monkeypatch):
    path, data = tmp_path / "a.jpg", encoded()
    path.write_bytes(data + b"notes" * 60)
    decoded = []
    monkeypatch.setattr(jpeg_ends, "_pixels", lambda data: decoded.append(data) or b"")
    for _ in range(2):
        assert not cut_off(path)
    assert len(decoded) == 1
    path.write_bytes(data + b"other" * 90)
    assert not cut_off(path) and len(decoded) == 2


def test_the_extension_says_nothing(tmp_path):
    path = tmp_path / "a.jpg"
    layout = Layout([[0, 0, 1, 1]], ["ball"], image_id=7, width=80, height=60)
    path.write_bytes(encoded("png"))
    assert LoadLayoutImage(size=(32, 32))(dict(img_path=str(path), layout=layout))["img"].shape == (32, 32, 3)
    path.write_text("no image")
    with pytest.raises(UserError, match=r"a.jpg \(image id 7\): cannot be read as an image"):
        LoadLayoutImage(size=(32, 32))(dict(img_path=str(path), layout=layout))


def test_the_generators_images(tmp_path):
    data = encoded()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    layout = Layout([[0, 0, 1, 1]], ["ball"], image_id=7, width=80, height=60)
    load = LoadLayoutImage(size=(32, 32))
    with pytest.raises(UserError, match=r"a.jpg \(image id 7\): is cut off"):
        load(dict(img_path=str(tmp_path / "a.jpg"), layout=layout))
    with pytest.raises(UserError, match=r"b.jpg \(image id 7\): is missing"):
        load(dict(img_path=str(tmp_path / "b.jpg"), layout=layout))
    (tmp_path / "a.jpg").write_bytes(data)
    assert load(dict(img_path=str(tmp_path / "a.jpg"), layout=layout))["img"].shape == (32, 32, 3)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    check_writable(tmp_path / "new/folder/a.json")
    check_writable(tmp_path / "file")
    with pytest.raises(
        UserError, match="file/new/a.json: `out` cannot be created: .*file is a file, not a folder"
    ):
        check_writable(tmp_path / "file/new/a.json")
    with pytest.raises(UserError, match="--save-predictions cannot be written: .* is read-only"):
        check_writable("/proc/sys/kernel/ostype", "--save-predictions")
    with pytest.raises(UserError, match="`out` cannot be created: File name too long"):
        check_writable(tmp_path / ("a" * 300))


def test_a_file_is_replaced_by_whom_its_folder_belongs_to(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "file").chmod(0o400)
    asked = []
    monkeypatch.setattr("os.access", lambda place, mode: asked.append(place) or True)
    check_writable(tmp_path / "file")
    assert asked == [tmp_path]
