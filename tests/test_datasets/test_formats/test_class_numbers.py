"""Classes of a converted set, numbered as another set does."""

import json
import runpy
from pathlib import Path

import pytest
from PIL import Image

TOOL = runpy.run_path(str(Path(__file__).resolve().parents[3] / "tools/dataset_converters/to_coco.py"))
OBJECT = "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"


@pytest.fixture
def voc(tmp_path):
    for name in ("Annotations", "JPEGImages"):
        (tmp_path / "voc" / name).mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(tmp_path / "voc/JPEGImages/a.png")
    objects = "".join(map(OBJECT.format, ("ant", "dog")))
    (tmp_path / "voc/Annotations/a.xml").write_text(
        "<annotation><filename>a.png</filename><size><width>16</width><height>16</height><depth>3</depth></size>"
        f"{objects}</annotation>"
    )
    return tmp_path / "voc"


def test_classes_like_those_of_another_set(voc, tmp_path):
    """Also those without an object here, as of a rare class that only the training images show."""
    categories = [dict(id=k, name=name) for k, name in enumerate(("dog", "cat"), 1)]
    (tmp_path / "train.json").write_text(json.dumps(dict(images=[], annotations=[], categories=categories)))
    words = [str(voc), "--out", str(tmp_path / "out"), "--classes-like", str(tmp_path / "train.json")]
    TOOL["main"](TOOL["build_parser"]().parse_args(words))
    (path,) = (tmp_path / "out/annotations").glob("*.json")
    coco = json.loads(path.read_text())
    assert [row["name"] for row in coco["categories"]] == ["dog", "cat", "ant"]
    names = {row["id"]: row["name"] for row in coco["categories"]}
    assert [names[row["category_id"]] for row in coco["annotations"]] == ["ant", "dog"]
