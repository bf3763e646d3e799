"""What tools/generate.py draws: annotations of the prompted objects, pixels of the editor, its own weights."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from tiny_generation import draw, pixels, write_config

from detdiffusion.apis.inferencer import DetDiffusionInferencer
from detdiffusion.generation.identity import noise_seed, synthetic_image_id


def source(world):
    merged = {}
    for name in ("instances", "stuff"):
        data = json.loads((world / f"train/{name}.json").read_text())
        merged.update({a["id"]: (a, data["categories"]) for a in data["annotations"]})
    return merged


def test_annotations_are_the_prompted_source_objects(world, tmp_path):
    counts = draw(world, tmp_path / "set", samples_per_image=2)
    assert counts["written"] == 12 and counts["objects_not_prompted"] == 0
    coco, original = COCO(tmp_path / "set/annotations.json"), source(world)
    names = {a["category_id"]: c for a, categories in original.values() for c in categories}
    assert len(coco.getImgIds()) == 12 and len(coco.dataset["categories"]) == 12 and names
    for info in coco.dataset["images"]:
        assert info["id"] == synthetic_image_id(info["source_image_id"], "hard", info["sample_index"], 0)
        assert (info["strategy"], info["seed"]) == ("hard", 0)
        with Image.open(tmp_path / "set/images" / info["file_name"]) as image:
            assert image.size == (info["width"], info["height"]) == (32, 32)
    for annotation in coco.dataset["annotations"]:
        twin = original[annotation["source_annotation_id"]][0]
        assert annotation["category_id"] == twin["category_id"] and annotation["iscrowd"] == 0
        assert np.allclose(annotation["bbox"], twin["bbox"], atol=0.01)  # equal sizes: equal pixels
        assert annotation["area"] == pytest.approx(annotation["bbox"][2] * annotation["bbox"][3], abs=0.01)
        assert annotation["attribute"] == ("background" if twin["category_id"] > 8 else "hard")
        assert "segmentation" not in annotation


def test_boxes_are_in_the_generated_images_pixels(world, tmp_path):
    draw(world, tmp_path / "wide", limit=2, height=32, width=64)
    coco, original = COCO(tmp_path / "wide/annotations.json"), source(world)
    for annotation in coco.dataset["annotations"]:
        x, y, w, h = original[annotation["source_annotation_id"]][0]["bbox"]
        assert np.allclose(annotation["bbox"], [2 * x, y, 2 * w, h], atol=0.01)
    assert {(i["width"], i["height"]) for i in coco.dataset["images"]} == {(64, 32)}


def test_a_models_own_size_is_drawn_and_another_one_noted(world, tmp_path, capsys):
    wide = ["model.unet.sample_size=[8,12]"]  # rows and columns of the latents, 2 px each
    draw(world, tmp_path / "own", limit=2, cfg_options=wide)
    assert {image.shape for image in pixels(tmp_path / "own").values()} == {(16, 24, 3)}
    assert "note:" not in capsys.readouterr().out
    draw(world, tmp_path / "turned", limit=2, cfg_options=wide, height=24, width=16)
    assert {image.shape for image in pixels(tmp_path / "turned").values()} == {(24, 16, 3)}
    assert (
        "note: generating 24 x 16 images (height x width), but the model's default is 16 x 24"
        in capsys.readouterr().out
    )


def test_objects_without_room_in_the_prompt_are_not_annotated(world, tmp_path):
    config = write_config(world, "short.py", max_length=40)
    counts = draw(world, tmp_path / "short", config=config, checkpoint=None)
    assert counts["objects_not_prompted"] > 0
    lines = [json.loads(x) for x in (tmp_path / "short/manifest.jsonl").read_text().splitlines()]
    assert sum(len(line["not_prompted"]) for line in lines) == counts["objects_not_prompted"]
    for line in lines:
        assert line["prompt"].count("[") == len(line["annotations"])
        assert not {a["source_annotation_id"] for a in line["annotations"]} & set(line["not_prompted"])


def test_pixels_are_the_editors_for_that_noise_and_do_not_depend_on_the_batch(world, tmp_path):
    draw(world, tmp_path / "four")
    draw(world, tmp_path / "one", batch_size=1)
    four, one = pixels(tmp_path / "four"), pixels(tmp_path / "one")
    assert four.keys() == one.keys()
    assert max(np.abs(four[k] - one[k]).max() for k in four) <= 1
    editor = DetDiffusionInferencer(str(world / "config.py"), world / "weights.pth", device="cpu")
    from detdiffusion.datasets import LayoutCocoDataset

    dataset = LayoutCocoDataset(
        [world / "train/instances.json", world / "train/stuff.json"],
        world / "train/images",
        filter_cfg=dict(min_objects=1),
    )
    layout = dataset.layouts[1]
    hard = layout.with_attributes(["background" if c > 8 else "hard" for c in layout.category_ids])
    generator = torch.Generator().manual_seed(noise_seed(layout.image_id, 0, 0))
    image = editor([hard], [generator], num_inference_steps=2)["samples"][0]
    expected = (image * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(one[f"{layout.image_id:012d}_hard_seed0_000.png"] - expected).max() <= 1
    assert len({image.tobytes() for image in one.values()}) == 6


def test_layouts_of_other_files(world, tmp_path):
    ann = [str(world / "train/instances.json"), str(world / "train/stuff.json")]
    draw(world, tmp_path / "a", ann=ann, limit=3)
    draw(world, tmp_path / "b", limit=3)
    a, b = pixels(tmp_path / "a"), pixels(tmp_path / "b")
    assert a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def test_layouts_of_a_data_set_of_the_users_own(world, tmp_path):
    """Plain layouts in a list are the same run as the library's own set of them."""
    from detdiffusion.datasets import LayoutCocoDataset
    from detdiffusion.registry import DATASETS

    @DATASETS.register_module(force=True)
    class PlainLayouts:
        def __init__(self, **spec):
            one = LayoutCocoDataset(**spec)
            self.layouts, self.categories, self.classes = one.layouts[:], one.categories, one.classes
            self.ann_files = one.ann_files

    draw(world, tmp_path / "set", limit=1)
    plain = ["layout_datasets.train.type=PlainLayouts"]
    assert draw(world, tmp_path / "set", limit=2, cfg_options=plain)["already_there"] == 1


def test_averaged_weights_are_the_ones_used(world, tmp_path):
    """mmengine's EMA hook swaps at saving: ``state_dict`` holds the averages, and drawing reads those."""
    from mmengine.hooks import EMAHook
    from mmengine.model import ExponentialMovingAverage

    model = DetDiffusionInferencer(str(world / "config.py"), world / "weights.pth", device="cpu").model
    hook = EMAHook()
    hook.ema_model = ExponentialMovingAverage(model)
    trained = {k: v + 1 if k == "unet.conv_in.bias" else v for k, v in model.state_dict().items()}
    checkpoint = dict(state_dict=trained)
    hook.before_save_checkpoint(None, checkpoint)
    torch.save(checkpoint, tmp_path / "ema.pth")
    loaded = DetDiffusionInferencer(str(world / "config.py"), tmp_path / "ema.pth", device="cpu").model
    assert torch.equal(loaded.unet.conv_in.bias, model.unet.conv_in.bias)


def test_mask_head_weights_are_ignored(world, tmp_path):
    state = torch.load(world / "weights.pth", weights_only=True)["state_dict"]
    torch.save(dict(state_dict={**state, "mask_head.query": torch.zeros(3)}), tmp_path / "pa.pth")
    DetDiffusionInferencer(str(world / "config.py"), tmp_path / "pa.pth", device="cpu")
