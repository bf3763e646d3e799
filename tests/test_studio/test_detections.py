"""Detections on images in memory: those of a detector that finds coloured squares exactly."""

from types import SimpleNamespace

import numpy as np
import pytest
from square_detector import draw, write_detector

from detdiffusion.models.detectors.yolov4.darknet import from_darknet
from detdiffusion.perception.detector_factory import load_detector
from detdiffusion.studio.detections import ImageInspector


@pytest.fixture(scope="module")
def inspector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    config, cfg, weights = write_detector(folder)
    (folder / "names").write_text("red\ngreen\n")
    from_darknet(cfg, weights, folder / "squares.pth", folder / "names")
    return ImageInspector(load_detector(config, folder / "squares.pth", "cpu"))


def test_boxes_and_what_is_found(inspector):
    """On 128 x 96 pixels a cell is 16 x 12; the second object is where nothing is, the third of no class."""
    picture = SimpleNamespace(
        pixels=np.asarray(draw([(2, 3, 1), (6, 1, 2)], (128, 96))),
        record=dict(id=2**50, file_name="x.png", width=128, height=96),
        annotations=[
            dict(bbox=[32, 36, 16, 12], category_id=0),
            dict(bbox=[80, 60, 16, 12], category_id=1),
            dict(bbox=[32, 36, 16, 12], category_id=2),
        ],
        names=["red", "green", "ghost"],
    )
    black = SimpleNamespace(
        pixels=np.zeros((96, 128, 3), np.uint8), record=picture.record, annotations=[], names=[]
    )
    seen, nothing = inspector.look([picture, black])
    assert [box["name"] for box in sorted(seen["boxes"], key=lambda box: box["box"])] == ["red", "green"]
    red = next(box for box in seen["boxes"] if box["name"] == "red")
    assert red["box"] == pytest.approx([2 / 8, 3 / 8, 3 / 8, 4 / 8], abs=0.01) and red["score"] > 0.9
    assert seen["found"] == [True, False, None]
    assert nothing == dict(boxes=[], found=[])
