"""What several files of these tests draw from, and the set that the quality gate judges."""

import json

import pytest
from gate_scene import RESULTS, scene


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Data, config, attributes and weights for tools/generate.py."""
    from tiny_generation import write_world

    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def on_disk(tmp_path):
    """Folder of the quality gate's scene: ``set/annotations.json`` and ``results.json``."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set/annotations.json").write_text(json.dumps(scene()))
    rows = [dict(image_id=i, category_id=c, bbox=b, score=s) for i, c, b, s in RESULTS]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    return tmp_path
