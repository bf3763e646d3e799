"""Layouts of files for the page."""

import json

import pytest

from detdiffusion.studio.layouts import LayoutFiles


@pytest.mark.parametrize("image_id, shown", [(2**53 - 1, 2**53 - 1), (2**53, None)])
def test_ids_that_a_browser_rounds_are_not_shown(image_id, shown):
    content = dict(
        images=[dict(id=image_id, file_name="1.png", width=8, height=8)],
        annotations=[dict(id=1, image_id=image_id, category_id=1, bbox=[1, 1, 4, 4], area=16, iscrowd=0)],
        categories=[dict(id=1, name="ball")],
    )
    files = LayoutFiles()
    key = files.upload(json.dumps(content).encode(), "mine.json")["key"]
    layout = files.layout(key, 0)
    assert layout["image_id"] == shown and layout["boxes"][0]["name"] == "ball"
