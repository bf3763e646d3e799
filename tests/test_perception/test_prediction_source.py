"""Predictions of a results json name the detector that made them, and what it can name."""

import hashlib
import json

import pytest

from detdiffusion.perception import predict_set
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.shared_options import PredictionOptions

IMAGES = [
    dict(id=1, file_name="1.png", width=20, height=20),
    dict(id=2, file_name="2.png", width=20, height=20),
]
IDS = dict(cat=3, dog=8, tree=9)


@pytest.fixture
def results(tmp_path):
    entries = [dict(image_id=i, category_id=c, bbox=[1, 2, 10, 10], score=0.5) for i, c in ((1, 3), (7, 8))]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(entries))
    return path


def read(results, **settings):
    source = PredictionOptions(predictions=results, **settings)
    return predict_set(source, IMAGES, IDS, None, ["ann.json"], "out.json")


def test_results_and_what_their_detector_names(results, tmp_path):
    found = read(results)
    assert found.predictions.image_ids.tolist() == [1] and found.nameable == {3}
    assert list(found.predictions.report.values()) == [1]  # image 7 is not in the set
    digest = hashlib.sha256(results.read_bytes()).hexdigest()
    assert found.detector == dict(predictions=str(results), sha256=digest)
    assert read(results, detector_classes=["cat", "tree"]).nameable == {3, 9}
    (tmp_path / "names.txt").write_text("dog\n\ncat\n")
    assert read(results, detector_classes=[str(tmp_path / "names.txt")]).nameable == {3, 8}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["cow"], "no category 'cow'"),
        (["dog"], "has predictions of cat"),
        (["none.txt"], "none.txt: cannot be read"),
    ],
)
def test_class_names_that_do_not_belong(results, classes, message):
    with pytest.raises(UserError, match=message):
        read(results, detector_classes=classes)


def test_empty_results_do_not_say_what_is_nameable(results):
    results.write_text("[]")
    with pytest.raises(UserError, match="has no prediction, so the classes .* are unknown"):
        read(results)
    assert read(results, detector_classes=["cat"]).nameable == {3}
