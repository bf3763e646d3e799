"""Synthetic sets that start from the real images of their layouts."""

import json

import numpy as np
import pytest
import tiny_generation
import torch
from PIL import Image
from pycocotools import mask as mask_utils

from detdiffusion import apis
from detdiffusion.utils.errors import UserError


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A fifth of the things are marked to be ignored, so that no layout has them."""
    root = tiny_generation.write_world(tmp_path_factory.mktemp("real"), images=8)
    path = root / "train/instances.json"
    things = json.loads(path.read_text())
    for annotation in things["annotations"][::5]:
        annotation["ignore"] = 1
    path.write_text(json.dumps(things))
    return root


def real_pixels(world, record):
    source = json.loads((world / "train/instances.json").read_text())["images"]
    name = next(i["file_name"] for i in source if i["id"] == record["source_image_id"])
    return np.asarray(Image.open(world / "train/images" / name)).astype(int)


def content(out):
    return json.loads((out / "annotations.json").read_text())


def test_strength_0_is_the_autoencoders_bound(world, tmp_path):
    tiny_generation.draw(world, tmp_path / "bound", from_real=0.0, limit=3)
    vae = apis.DetDiffusionInferencer(str(world / "config.py"), str(world / "weights.pth"), "cpu").model.vae
    drawn = tiny_generation.pixels(tmp_path / "bound")
    for record in content(tmp_path / "bound")["images"]:
        assert record["from_real"] == "real0" and "_real0_" in record["file_name"]
        image = torch.from_numpy(real_pixels(world, record)).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            copy = vae.decode(vae.encode(image).latent_dist.mode()).sample[0].permute(1, 2, 0)
        expected = ((copy / 2 + 0.5).clamp(0, 1) * 255).round().numpy()
        assert np.abs(drawn[record["file_name"]] - expected).max() <= 1


@pytest.mark.parametrize("edits", [None, dict(flip=1.0), dict(drop=0.5, flip=0.5)])
def test_kept_objects_keep_pixels_and_masks(world, tmp_path, edits):
    tiny_generation.draw(
        world, tmp_path / "set", "origin", from_real=0.7, keep="objects", edits=edits, limit=4
    )
    drawn, data = tiny_generation.pixels(tmp_path / "set"), content(tmp_path / "set")
    images = {record["id"]: record for record in data["images"]}
    kept = [a for a in data["annotations"] if a.get("from_real")]
    assert not any(a["iscrowd"] for a in data["annotations"])  # what is not in the layout is redrawn
    assert kept and all(a["attribute"] != "background" for a in kept)
    for annotation in kept:
        record = images[annotation["image_id"]]
        mask = mask_utils.decode(annotation["segmentation"]).astype(bool)
        source = real_pixels(world, record)
        source = source[:, ::-1] if record.get("flipped") else source
        assert np.array_equal(drawn[record["file_name"]][mask], source[mask])
        x, y, w, h = annotation["bbox"]
        ys, xs = np.nonzero(mask)
        assert x - 1 <= xs.min() and xs.max() <= x + w and y - 1 <= ys.min() and ys.max() <= y + h


def test_labels_of_kept_objects_are_true(world, tmp_path, capsys):
    """An object whose attribute is to change is drawn anew; the rest stays."""
    kept = {}
    for strategy in ("origin", "hard"):
        tiny_generation.draw(world, tmp_path / strategy, strategy, from_real=0.7, keep="objects", limit=4)
        data = content(tmp_path / strategy)
        kept[strategy] = {
            (a["source_annotation_id"], a["segmentation"]["counts"]): a["attribute"]
            for a in data["annotations"]
            if a.get("from_real")
        }
    assert set(kept["origin"].values()) == {"easy", "hard"}
    assert kept["hard"] == {key: word for key, word in kept["origin"].items() if word == "hard"}
    assert f"{len(kept['hard'])} of " in capsys.readouterr().out.splitlines()[-3]
    with pytest.raises(UserError, match="none of the .* objects stays: .*'flip' their attributes"):
        tiny_generation.draw(world, tmp_path / "flip", "flip", from_real=0.7, keep="objects", limit=4)


def test_kept_background_keeps_what_no_object_covers(world, tmp_path):
    edits = dict(jitter=0.3)
    tiny_generation.draw(world, tmp_path / "set", from_real=1.0, keep="background", edits=edits, limit=4)
    drawn, data = tiny_generation.pixels(tmp_path / "set"), content(tmp_path / "set")
    source_boxes = {
        a["id"]: a["bbox"] for a in json.loads((world / "train/instances.json").read_text())["annotations"]
    }
    assert not any(a.get("from_real") for a in data["annotations"] if not a["iscrowd"])
    for record in data["images"]:
        free = np.ones((32, 32), bool)
        for a in data["annotations"]:
            if a["image_id"] == record["id"] and a["attribute"] not in ("background", None):
                for x, y, w, h in (a["bbox"], source_boxes[a["source_annotation_id"]]):
                    free[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))] = False
        difference = np.abs(drawn[record["file_name"]] - real_pixels(world, record)).sum(axis=2)
        assert free.any() and not difference[free].any() and difference[~free].any()


@pytest.mark.parametrize(
    ("options", "ignores"),
    [
        (dict(from_real=0.5), True),
        (dict(from_real=0.5, edits=dict(flip=1.0)), True),
        (dict(from_real=1.0), False),
        (dict(from_real=1.0, keep="background"), True),
    ],
)
def test_visible_objects_that_no_layout_has_are_ignored_regions(world, tmp_path, capsys, options, ignores):
    tiny_generation.draw(world, tmp_path / "set", **options, limit=8, steps=2)
    assert ("are not in the layouts" in capsys.readouterr().out) == ignores
    data = content(tmp_path / "set")
    source = json.loads((world / "train/instances.json").read_text())["annotations"]
    prompted = {a["source_annotation_id"] for a in data["annotations"] if not a["iscrowd"]}
    regions = {a["source_annotation_id"]: a for a in data["annotations"] if a["iscrowd"]}
    assert len({a["id"] for a in data["annotations"]}) == len(data["annotations"])
    assert not prompted & regions.keys() and all(a["from_real"] for a in regions.values())
    images = {record["source_image_id"]: record for record in data["images"]}
    unlabelled = [a for a in source if a["image_id"] in images and a["id"] not in prompted]
    if not ignores:
        assert unlabelled and not regions
        return
    assert len(unlabelled) > 3
    for annotation in unlabelled:
        x, y, w, h = annotation["bbox"]
        region = regions.pop(annotation["id"], None)
        if region is None:  # within the boxes that are drawn again
            image_id = images[annotation["image_id"]]["id"]
            own = [
                a["bbox"]
                for a in data["annotations"]
                if a["image_id"] == image_id and a["attribute"] not in ("background", None)
            ]
            free = np.ones((32, 32), bool)
            for left, top, width, height in own:
                free[int(top) : int(np.ceil(top + height)), int(left) : int(np.ceil(left + width))] = False
            assert options.get("keep") and not free[int(y) : int(y + h), int(x) : int(x + w)].any()
            continue
        expected = [32 - x - w if options.get("edits") else x, y, w, h]
        np.testing.assert_allclose(region["bbox"], expected, atol=0.01)
        assert region["category_id"] == annotation["category_id"]
    assert not regions


def test_a_set_of_its_own(world, tmp_path):
    tiny_generation.draw(world, tmp_path / "set", from_real=0.5, limit=2)
    before = tiny_generation.pixels(tmp_path / "set")
    tiny_generation.draw(world, tmp_path / "set", from_real=0.5, limit=4)  # continues
    after = tiny_generation.pixels(tmp_path / "set")
    assert len(after) == 4 and all(np.array_equal(after[name], image) for name, image in before.items())
    with pytest.raises(UserError, match=r"holds another run \(from_real: 'real0.5' there, 'real0.6' now\)"):
        tiny_generation.draw(world, tmp_path / "set", from_real=0.6, limit=4)


def test_what_it_needs(world, tmp_path):
    with pytest.raises(UserError, match="`keep` requires `from_real`"):
        tiny_generation.draw(world, tmp_path / "set", keep="objects")
    for options in (dict(edits=dict(jitter=0.1)), dict(layouts="edit"), dict(layouts="recompose")):
        with pytest.raises(UserError, match="`from_real` 0 leaves the real images as they are"):
            tiny_generation.draw(world, tmp_path / "set", from_real=0.0, **options)
    for layouts in ("recompose", "sample"):
        with pytest.raises(UserError, match=f"keeps no object of `layouts` '{layouts}'"):
            tiny_generation.draw(world, tmp_path / "set", from_real=0.5, keep="objects", layouts=layouts)
    with pytest.raises(UserError, match="strength 0.4 runs none of 2 steps; it must be at least 1/2"):
        tiny_generation.draw(world, tmp_path / "set", from_real=0.4)
    (world / "lonely").mkdir(exist_ok=True)
    ann = world / "lonely/instances.json"
    ann.write_bytes((world / "train/instances.json").read_bytes())
    with pytest.raises(UserError, match=r"reads the real images, but 2 of 2 are missing, the first .*lonely"):
        tiny_generation.draw(world, tmp_path / "set", ann=[str(ann)], from_real=0.5, limit=2)
    assert not (tmp_path / "set").exists()
