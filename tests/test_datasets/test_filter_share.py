"""A filter that leaves little of the data says so, or stops."""

import json

import cv2
import numpy as np
import pytest

from detdiffusion.datasets import LayoutCocoDataset
from detdiffusion.utils.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """40 images: one object of a quarter of the image in each, and a tiny one in every second."""
    cv2.imwrite(str(tmp_path / "image.png"), np.zeros((20, 20, 3), np.uint8))
    images = [dict(id=i, file_name=f"{i}.png", width=20, height=20) for i in range(1, 41)]
    boxes = [(i, [0, 0, 10, 10]) for i in range(1, 41)] + [(i, [0, 0, 2, 2]) for i in range(2, 41, 2)]
    annotations = [
        dict(id=k + 1, image_id=i, category_id=1, bbox=box, area=box[2] * box[3], iscrowd=0)
        for k, (i, box) in enumerate(boxes)
    ]
    categories = [dict(id=1, name="cat")]
    (tmp_path / "a.json").write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )
    return tmp_path


def load(folder, min_kept=0.05, **filter_cfg):
    return LayoutCocoDataset(str(folder / "a.json"), str(folder), filter_cfg=filter_cfg, min_kept=min_kept)


def test_more_than_half_is_no_news(folder):
    assert not any("warning" in note for note in load(folder, min_objects=1).layouts.notes)


def test_less_than_half_is_a_warning_with_the_rule_and_the_quantiles(folder):
    (note,) = (n for n in load(folder, 0, min_objects=1, max_objects=1, min_area_ratio=0).layouts.notes if n)
    assert "20 of 60 objects (33.3%)" in note and "max_objects=1 removes 40" in note
    assert "half up to 2" in note or "half up to 1" in note


def test_less_than_a_twentieth_is_an_error_with_the_option_that_allows_it(folder):
    data = json.loads((folder / "a.json").read_text())
    for annotation in data["annotations"][2:]:
        annotation["bbox"] = [0, 0, 2, 2]
    (folder / "a.json").write_text(json.dumps(data))
    with pytest.raises(
        UserError, match=r"2 of 60 objects \(3.3%\): min_area_ratio=0.02 removes 58.*min_kept=0"
    ):
        load(folder, min_objects=1)
    assert len(load(folder, 0, min_objects=1)) == 2
