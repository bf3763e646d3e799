"""Predictions survive a kill, and never meet another detector or other images."""

import numpy as np
import pytest
from image_kinds import oriented, pixels
from PIL import Image

from detdiffusion.perception import prediction_cache
from detdiffusion.perception.image_detector import ImageDetector
from detdiffusion.utils.errors import UserError


class Detector(ImageDetector):
    """Boxes that follow from the image's id; stops like a killed process after some images."""

    name, classes = "config.py", ("cat", "dog")

    def __init__(self, weights="w0", dies_after=None):
        self.weights, self.dies_after, self.seen = weights, dies_after, []

    def identity(self):
        return dict(weights=self.weights)

    def detect(self, images, img_dir, batch_size, num_workers, reader=None):
        for image in images:
            if self.dies_after is not None and len(self.seen) == self.dies_after:
                raise KeyboardInterrupt
            self.seen.append(image["id"])
            count = image["id"] % 4  # images without any detection among them
            rng = np.random.default_rng(image["id"])
            yield (
                image["id"],
                rng.integers(0, 2, count),
                rng.uniform(0, 9, (count, 4)),
                rng.uniform(size=count),
            )


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_cache, "CHUNK", 4)
    entries = []
    for key in range(1, 15):
        Image.new("RGB", (10, 8)).save(tmp_path / f"{key}.png")
        entries.append(dict(id=key, file_name=f"{key}.png", width=10, height=8))
    return entries


def predict(detector, images, folder, cache=True):
    cache = folder / "cache" if cache else None
    return detector.predict(images, folder, {"cat": 3, "dog": 8}, progress=False, cache=cache)


def same(a, b):
    columns = ("image_ids", "category_ids", "boxes", "scores")
    return all(np.array_equal(getattr(a, c), getattr(b, c)) for c in columns)


def test_a_killed_run_continues_at_the_last_whole_chunk(images, tmp_path):
    expected = predict(Detector(), images, tmp_path, cache=False)
    assert set(expected.category_ids) == {3, 8}
    with pytest.raises(KeyboardInterrupt):
        predict(Detector(dies_after=9), images, tmp_path)
    again = Detector()
    assert same(predict(again, images, tmp_path), expected)
    assert again.seen == list(range(9, 15))  # two chunks of four were stored
    third = Detector()
    found = predict(third, images, tmp_path)
    assert same(found, expected) and third.seen == [] and 14 in found.report.values()
    assert not list((tmp_path / "cache").rglob(".tmp*"))


def test_a_damaged_chunk_is_made_anew(images, tmp_path):
    expected = predict(Detector(), images, tmp_path)
    chunks = sorted((tmp_path / "cache").rglob("*.npz"))
    chunks[1].write_bytes(chunks[1].read_bytes()[:60])
    chunks[2].unlink()
    again = Detector()
    assert same(predict(again, images, tmp_path), expected) and again.seen == list(range(5, 13))


@pytest.mark.parametrize("change", ["weights", "image", "fewer", "size"])
def test_anything_else_is_detected_anew(change, images, tmp_path):
    predict(Detector(), images, tmp_path)
    detector = Detector("w1" if change == "weights" else "w0")
    if change == "image":
        Image.new("RGB", (10, 8), (1, 2, 3)).save(tmp_path / "3.png")
    elif change == "fewer":
        images = images[1:]
    elif change == "size":
        images = [dict(image, width=11) for image in images]
        for image in images:
            Image.new("RGB", (11, 8)).save(tmp_path / image["file_name"])
    predict(detector, images, tmp_path)
    assert len(detector.seen) == len(images)


def test_a_cache_that_cannot_be_written_is_one_message(images, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match="cannot write"):
        predict(Detector(), images, tmp_path)


def test_labels_beyond_the_class_names_are_refused(images, tmp_path):
    detector = Detector()
    detector.classes = ("cat",)
    with pytest.raises(UserError, match="gives label 1, but has only 1 class names"):
        predict(detector, images, tmp_path, cache=False)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict(labels=-1), "label -1"),
        (dict(scores=np.nan), "NaN or infinite"),
        (dict(boxes=np.inf), "NaN or infinite"),
        (dict(scores=1.5), "a score of 1.5"),
        (dict(scores=-0.25), "a score of -0.25"),
    ],
)
def test_whatever_detector_gives_what_cannot_be_is_refused(change, match, images, tmp_path):
    class Wrong(Detector):
        def detect(self, *args):
            for key, labels, boxes, scores in super().detect(*args):
                columns = dict(labels=labels, boxes=boxes, scores=scores)
                if key == 6:
                    for name, value in change.items():
                        columns[name].flat[0] = value
                yield key, *columns.values()

    with pytest.raises(UserError, match=f"config.py: image id 6: .*{match}"):
        predict(Wrong(), images, tmp_path)
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 1  # the images before


def test_a_configs_rule_for_turned_images_holds_while_its_detector_reads(tmp_path):
    """Refused without a rule; read and cached under the config's; nothing is left behind for the next detector."""
    (tmp_path / "1.jpg").write_bytes(oriented("jpeg", pixels(), 6))
    images = [dict(id=1, file_name="1.jpg", width=40, height=64)]
    with pytest.raises(UserError, match="turned or mirrored by its EXIF orientation"):
        predict(Detector(), images, tmp_path)
    for rule, size in (("apply", (40, 64)), ("ignore", (64, 40))):
        detector = Detector()
        detector.config = dict(exif_orientation=rule)
        for _ in range(2):
            predict(detector, [dict(images[0], width=size[0], height=size[1])], tmp_path)
        assert detector.seen == [1]
    with pytest.raises(UserError, match="turned or mirrored by its EXIF orientation"):
        predict(Detector(), images, tmp_path)
