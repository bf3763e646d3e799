"""Sheets of a COCO-form set: every object where it is, in its attribute's colour, masks tinted."""

import json
import runpy
import sys

import numpy as np
import pytest
from option_values import browse
from PIL import Image

from detdiffusion.utils.errors import UserError


@pytest.fixture
def coco(tmp_path):
    """Three grey images of 40 x 20; the first has a box with a mask on its right half."""
    (tmp_path / "images").mkdir()
    images = []
    for key in (1, 2, 3):
        Image.new("RGB", (40, 20), (100, 100, 100)).save(tmp_path / f"images/{key}.png")
        images.append(dict(id=key, file_name=f"{key}.png", width=40, height=20))
    mask = [[20, 4, 30, 4, 30, 16, 20, 16]]
    data = dict(
        images=images,
        annotations=[
            dict(id=1, image_id=1, category_id=5, bbox=[10, 4, 20, 12], segmentation=mask, attribute="hard"),
            dict(id=2, image_id=1, category_id=7, bbox=[0, 0, 5, 5], attribute="background"),
            dict(id=3, image_id=3, category_id=7, bbox=[0, 0, 5, 5]),
        ],
        categories=[dict(id=5, name="cat"), dict(id=7, name="sky")],
    )
    (tmp_path / "ann.json").write_text(json.dumps(data))
    return tmp_path


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_boxes_masks_and_legend(coco):
    (path,) = browse([coco / "ann.json"], coco / "out", columns=2, side=80)
    sheet = pixels(path)
    assert sheet.shape == (18 + 2 * (94 + 6) - 6, 2 * 86 - 6, 3)
    first = sheet[18 + 20 : 18 + 60, :80]  # 80 x 40, twice the size, in the middle of its tile
    red = abs(first - (255, 0, 40)).sum(axis=2) < 5
    ys, xs = np.nonzero(red)
    assert xs.min() == 20 and xs.max() <= 59 and ys.max() == 31
    assert (first[16, 30] == 100).all() and (
        first[16, 50] != 100
    ).any()  # the mask covers the box's right half
    assert (sheet[6, 4] == (0, 220, 40)).all()  # the legend: easy, hard, background


def test_an_attributes_file_gives_the_colours(coco):
    words = dict(
        info=dict(words=["low", "mid", "high", "background"]), attributes={"1": "mid", "2": "background"}
    )
    (coco / "attributes.json").write_text(json.dumps(words))
    (path,) = browse([coco / "ann.json"], coco / "out", attributes=coco / "attributes.json", side=80)
    sheet = pixels(path)
    assert (abs(sheet - (255, 220, 40)).sum(axis=2) < 5).sum() > 50
    assert not (abs(sheet - (255, 0, 40)).sum(axis=2) < 5)[18:].any()


def test_sheets_counts_and_selections(coco, capsys):
    out = browse([coco / "ann.json"], coco / "out", per_sheet=2)
    assert [p.name for p in out] == ["sheet_001.png", "sheet_002.png"]
    assert len(browse([coco / "ann.json"], coco / "out", count=1, per_sheet=1)) == 1
    (path,) = browse([coco / "ann.json"], coco / "cat", classes=["cat"], side=80)
    assert pixels(path).shape[1] == 80
    with pytest.raises(UserError, match="no category dog"):
        browse([coco / "ann.json"], coco / "out", classes=["dog"])
    with pytest.raises(UserError, match="no image 9"):
        browse([coco / "ann.json"], coco / "out", image_ids=[9])


def test_layouts_only_reads_no_image(coco):
    for path in (coco / "images").iterdir():
        path.unlink()
    (coco / "images").rmdir()
    (path,) = browse([coco / "ann.json"], coco / "out", layouts_only=True, side=80)
    assert (pixels(path)[18 + 40, 70] == 235).all()
    with pytest.raises(UserError, match="by `img_dir`"):
        browse([coco / "ann.json"], coco / "out")


def test_bad_images_and_masks_are_counted_and_the_rest_is_shown(coco, capsys):
    (coco / "images/2.png").write_text("no image")
    Image.new("RGB", (20, 40)).save(coco / "images/3.png")
    data = json.loads((coco / "ann.json").read_text())
    data["annotations"][0]["segmentation"] = [[1, 2]]
    (coco / "ann.json").write_text(json.dumps(data))
    (path,) = browse([coco / "ann.json"], coco / "out", side=80)
    out = capsys.readouterr().out
    assert (
        "1 × image that cannot be read as an image: not shown" in out
        and "1 × image that has another size" in out
    )
    assert (
        "1 × segmentation without a part of three points or more: the box serves as mask (annotation id 1)"
        in out
    )
    assert pixels(path).shape[1] == 80
    (coco / "images/1.png").unlink()
    with pytest.raises(UserError, match="no image to show"):
        browse([coco / "ann.json"], coco / "out")


def test_tool_on_real_photographs(shared_dir, repo_root, tmp_path, monkeypatch, capsys):
    tool = str(repo_root / "tools/analysis_tools/browse_dataset.py")
    ann = str(shared_dir / "data/coco_cc/instances.json")
    monkeypatch.setattr(
        sys, "argv", [tool, "--ann", ann, "--out", str(tmp_path), "--count", "4", "--side", "128"]
    )
    with pytest.raises(SystemExit) as end:
        runpy.run_path(tool, run_name="__main__")
    assert not end.value.code and "written:" in capsys.readouterr().out
    assert pixels(tmp_path / "sheet_001.png").shape == (128 + 14, 4 * 134 - 6, 3)
