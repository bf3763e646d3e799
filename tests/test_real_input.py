"""Real COCO photographs through the tools: attributes, a few training steps with masks, images, a COCO json.

The VAE is TAESD, trained for Stable Diffusion's latent space; UNet and text encoder are tiny and fresh.
"""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from detdiffusion.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs/detdiffusion_small_coco.py"
SIZE = 128


def run_tool(name, *args, code=0):
    """A tool as the main program, in this process: a start costs seconds of imports."""
    before = sys.argv
    sys.argv = [name, *map(str, args)]
    try:
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / "tools" / name), run_name="__main__")
    finally:
        sys.argv = before
    assert (end.value.code or 0) == code


@pytest.fixture(scope="module")
def photos(shared_dir):
    folder = shared_dir / "data/coco_cc"
    if not (folder / "instances.json").is_file():
        pytest.skip(f"no COCO photographs at {folder}")
    return folder


@pytest.fixture(scope="module")
def instances(photos):
    return json.loads((photos / "instances.json").read_text())


@pytest.fixture(scope="module")
def taesd(shared_dir, tmp_path_factory):
    source = shared_dir / "weights/taesd"
    if not (source / "taesd_encoder.safetensors").is_file():
        pytest.skip(f"no TAESD weights at {source}")
    out = tmp_path_factory.mktemp("taesd") / "vae"
    files = [source / f"taesd_{part}.safetensors" for part in ("encoder", "decoder")]
    run_tool("model_converters/taesd_to_diffusers.py", *files, out)
    return out


@pytest.fixture(scope="module")
def sd_folder(taesd, instances):
    """A diffusers folder: TAESD, a tiny UNet and text encoder, a tokenizer of the class words."""
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer

    folder = taesd.parent
    words = {word for category in instances["categories"] for word in category["name"].split()}
    words = ["an", "image", "with", "easy", "hard", "background", *sorted(words)]
    size = write_small_tokenizer(folder / "tokenizer", words)
    torch.manual_seed(0)
    text_config = CLIPTextConfig(
        vocab_size=size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )
    CLIPTextModel(text_config).save_pretrained(folder / "text_encoder")
    UNet2DConditionModel(
        sample_size=64,
        in_channels=4,
        out_channels=4,
        block_out_channels=[16, 32, 32, 32],
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=32,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    ).save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="module")
def results(instances, tmp_path_factory):
    """A detector's results: every second box slightly moved (found), the others far off or unsure."""
    rng = np.random.default_rng(0)
    entries, found = [], set()
    for k, annotation in enumerate(instances["annotations"]):
        x, y, w, h = annotation["bbox"]
        entry = dict(image_id=annotation["image_id"], category_id=annotation["category_id"], score=0.9)
        if k % 2 == 0:
            found.add(annotation["id"])
            dx, dy = rng.uniform(-0.1, 0.1, 2) * (w, h)
            entry["bbox"] = [x + dx, y + dy, w, h]
        else:
            entry.update(bbox=[x, y, w, h], score=0.2)
        entries.append(entry)
    path = tmp_path_factory.mktemp("results") / "results.json"
    path.write_text(json.dumps(entries))
    return path, found


@pytest.fixture(scope="module")
def world(photos, sd_folder, results, tmp_path_factory):
    """Attributes and a trained checkpoint, by the tools."""
    root = tmp_path_factory.mktemp("run")
    ann = photos / "instances.json"
    attributes = root / "attributes.json"
    run_tool("extract_attributes.py", "--predictions", results[0], "--ann", ann, "--out", attributes)
    options = [f"sd_folder={sd_folder}", f"data_root={photos}", f"attributes_file={attributes}"]
    options += ["model.vae.type=AutoencoderTiny", f"model.unet.sample_size={SIZE // 8}", "model.dtype=fp32"]
    options += ["model.layout_tokenizer.bins=(16,16)", "model.mask_head.hidden=32", "model.mask_head.ffn=64"]
    options += [f"train_dataloader.dataset.pipeline.0.size=({SIZE},{SIZE})", "train_dataloader.num_workers=0"]
    options += ["train_dataloader.persistent_workers=False", "train_cfg.max_iters=3"]
    options += ["param_scheduler.0.end=1", "param_scheduler.1.begin=1", "param_scheduler.1.end=3"]
    options += ["default_hooks.logger.interval=1"]
    run_tool("train.py", CONFIG, "--work-dir", root / "work", "--cfg-options", *options)
    return root, options, attributes


def test_taesd_shows_the_photographs(taesd, photos):
    """Round trip at 128 px, where 20 other photographs gave 23.4 dB; a mean colour gives about 12."""
    from diffusers import AutoencoderTiny

    vae = AutoencoderTiny.from_pretrained(taesd)
    assert sum(p.numel() for p in vae.parameters()) == 1_222_532 + 1_222_531
    files = sorted((photos / "images").iterdir())[:12]
    images = np.stack(
        [np.asarray(Image.open(f).convert("RGB").resize((SIZE, SIZE), Image.BOX)) for f in files]
    )
    images = torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        decoded = vae.decode(vae.encode(images).latents).sample.clamp(-1, 1)
    psnr = -10 * ((decoded - images).div(2).square().mean((1, 2, 3))).log10()
    assert 19 < psnr.mean() < 26


def test_the_editor_knows_the_tiny_autoencoder(world):
    from detdiffusion.apis.inferencer import DetDiffusionInferencer

    root, options, _ = world
    editor = DetDiffusionInferencer(str(CONFIG), None, device="cpu", cfg_options=options).model
    assert editor.latent_scale == 8
    image = torch.rand(1, 3, 64, 96) * 2 - 1
    assert editor.encode_images(image).shape == (1, 4, 8, 12)
    mean, deviation = editor.posterior(image)
    assert torch.equal(deviation, torch.zeros_like(mean))
    assert torch.equal(editor.encode_images(image), mean)  # scaling factor 1, no sampling
    assert editor.decode_latents(mean).shape == (1, 3, 64, 96)


def test_attributes_follow_the_detector(world, results, instances):
    """By the detector's own results: what it found is easy, whatever nothing overlaps by half is hard."""
    attributes = json.loads(world[2].read_text())["attributes"]
    objects = [a for a in instances["annotations"] if not a["iscrowd"]]
    assert set(attributes) == {str(a["id"]) for a in objects}
    others = [a for a in objects if a["id"] not in results[1]]
    assert all(attributes[str(a["id"])] == "easy" for a in objects if a["id"] in results[1])
    hard = sum(attributes[str(a["id"])] == "hard" for a in others)
    assert hard > 0.7 * len(others)  # the rest lies under a neighbour's prediction


def test_masks_cover_what_coco_says(photos):
    """Mask pixels at the training size against the json's own `area` of each object."""
    import detdiffusion.datasets  # noqa: F401
    from detdiffusion.registry import DATASETS

    dataset = DATASETS.build(
        dict(
            type="LayoutCocoDataset",
            ann_files=str(photos / "instances.json"),
            img_dir=str(photos / "images"),
            filter_cfg=dict(min_objects=1, max_objects=14),
            pipeline=[
                dict(type="LoadLayoutImage", size=(SIZE, SIZE)),
                dict(type="LoadLayoutMasks"),
                dict(type="PackLayoutInputs"),
            ],
        )
    )
    area = {a["id"]: a["area"] for a in COCO(str(photos / "instances.json")).dataset["annotations"]}
    for item in [dataset[i] for i in range(0, len(dataset), 4)]:
        layout = item["data_samples"].layout
        assert item["inputs"].shape == (3, SIZE, SIZE) and layout.masks.shape == (len(layout), SIZE, SIZE)
        share = layout.masks.float().mean((1, 2))
        expected = torch.tensor([area[i] / (layout.width * layout.height) for i in layout.ids])
        # from 900000000000 on, areas are those of panoptic masks, whose holes the polygons fill
        coco = torch.tensor([i < 900_000_000_000 for i in layout.ids])
        torch.testing.assert_close(share[coco], expected[coco], atol=0.01, rtol=0.1)


def test_training_moved_unet_and_text_encoder_only(world, sd_folder):
    from safetensors.torch import load_file

    root, _, _ = world
    state = torch.load(root / "work/iter_3.pth", weights_only=False)["state_dict"]
    for part, moves in (("unet", True), ("vae", False)):
        before = load_file(sd_folder / part / "diffusion_pytorch_model.safetensors")
        moved = [not torch.equal(state[f"{part}.{key}"], value) for key, value in before.items()]
        assert (sum(moved) > 0.9 * len(moved)) if moves else not any(moved)
    logs = list((root / "work").rglob("scalars.json"))
    lines = [json.loads(line) for line in logs[0].read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(np.isfinite(line["loss"]) and line["loss_pa"] > 0 for line in lines)


def test_four_images_and_a_valid_json(world, instances, tmp_path):
    root, options, attributes = world
    out = tmp_path / "set"
    args = [CONFIG, root / "work/iter_3.pth", "--out", out, "--strategy", "easy", "--limit", 4, "--steps", 3]
    run_tool("generate.py", *args, "--device", "cpu", "--cfg-options", *options)
    coco = COCO(str(out / "annotations.json"))
    assert len(coco.getImgIds()) == 4
    source = {a["id"]: a for a in instances["annotations"]}
    assert coco.dataset["categories"] == instances["categories"]
    for image in coco.loadImgs(coco.getImgIds()):
        pixels = np.asarray(Image.open(out / "images" / image["file_name"]))
        assert pixels.shape == (SIZE, SIZE, 3) and (image["height"], image["width"]) == (SIZE, SIZE)
        assert pixels.std() > 5
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert annotations
        for annotation in annotations:
            original = source[annotation["source_annotation_id"]]
            assert annotation["category_id"] == original["category_id"]
            assert original["image_id"] == image["source_image_id"] and annotation["attribute"] == "easy"
            x, y, w, h = annotation["bbox"]
            assert 0 <= x < x + w <= SIZE + 0.01 and 0 <= y < y + h <= SIZE + 0.01
    results = [{**a, "score": 1.0} for a in coco.dataset["annotations"]]
    assert len(coco.loadRes(results).getAnnIds()) == len(results)


def test_bad_weights_are_one_message(tmp_path, shared_dir, taesd):
    from safetensors.torch import save_file

    from detdiffusion.models.editors.converters.taesd import convert_taesd

    encoder = shared_dir / "weights/taesd/taesd_encoder.safetensors"
    with pytest.raises(UserError, match="nowhere: no such file"):
        convert_taesd(encoder, "nowhere", tmp_path / "out")
    with pytest.raises(UserError, match="not TAESD's encoder and decoder"):
        convert_taesd(encoder, encoder, tmp_path / "out")
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(UserError, match="junk: not a safetensors file"):
        convert_taesd(tmp_path / "junk", encoder, tmp_path / "out")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(UserError, match="'weight' does not begin with a layer number"):
        convert_taesd(encoder, tmp_path / "other", tmp_path / "out")
    assert not (tmp_path / "out").exists()
