"""The detector of squares, and real images of squares to score methods beside."""

import pytest


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """With a checkpoint that the converter made."""
    from square_detector import write_detector

    from detdiffusion.models.detectors.yolov4.darknet import from_darknet
    from detdiffusion.perception.detector import MMDetDetector

    folder = tmp_path_factory.mktemp("detector")
    config, cfg, weights = write_detector(folder)
    (folder / "names").write_text("red\ngreen\n")
    done = from_darknet(cfg, weights, folder / "squares.pth", folder / "names")
    assert done["seen"] == 640 and done["classes"] == 2
    return MMDetDetector(config, folder / "squares.pth", "cpu")


@pytest.fixture
def data(tmp_path):
    """Folder of the real images, their COCO json, and the cells of each image."""
    from square_detector import write_squares

    coco, cells = write_squares(tmp_path)
    return tmp_path, coco, cells
