"""An exported generator in plain diffusers, and as the start of another config."""

import json

import cv2
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from tiny_editor import build_editor, layouts, trained_editor

from detdiffusion.apis.inferencer import DetDiffusionInferencer
from detdiffusion.models.editors.autoencoder import Autoencoder
from detdiffusion.models.editors.converters.diffusers_folder import export_diffusers
from detdiffusion.models.editors.detdiffusion.sampler import initial_noise
from detdiffusion.utils.errors import UserError

DRAWING = dict(num_inference_steps=4, guidance_scale=3.5)


def generators():
    return [torch.Generator().manual_seed(seed) for seed in (1, 2)]


@pytest.mark.parametrize("lora", [None, dict(r=2)], ids=["full", "lora"])
def test_plain_diffusers_draws_the_same(tmp_path, lora):
    if lora:
        pytest.importorskip("peft")
    config, checkpoint = trained_editor(tmp_path, lora=lora)
    ours = DetDiffusionInferencer(config, checkpoint, "cpu")
    result = ours(layouts(), generators=generators(), **DRAWING)
    sizes = export_diffusers(config, checkpoint, tmp_path / "out")
    assert all(sizes.values())
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "out", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    common = dict(height=32, width=32, output_type="pt", **DRAWING)
    tokenizer = ours.model.layout_tokenizer
    with torch.no_grad():
        states = ours.model.text_encoder(tokenizer.encode(layouts()).input_ids)[0]
        null = ours.model.text_encoder(tokenizer.null_ids(2))[0]
    embedded = dict(prompt_embeds=states, negative_prompt_embeds=null)
    written = dict(prompt=result["prompts"], negative_prompt=[""] * 2)  # its own tokenizer and text encoder
    for prompt in (embedded, written):
        images = pipeline(**prompt, latents=initial_noise((4, 8, 8), generators()), **common).images
        torch.testing.assert_close(images, result["samples"], atol=1e-5, rtol=0)
    content = json.loads((tmp_path / "out/layout_config.json").read_text())
    assert (content["template"], content["bins"], content["attributes"]) == ("compact", [4, 4], True)
    assert content["classes"] == ["ball", "pine tree", "sky"] and content["filter_cfg"] == dict(max_objects=8)


def start_from(folder, parts, **layout_tokenizer):
    kinds = dict(tokenizer="CLIPTokenizer", text_encoder="CLIPTextModel", unet="UNet2DConditionModel")
    loaded = {
        role: dict(type=kind, from_pretrained=str(folder), subfolder=role) for role, kind in kinds.items()
    }
    return build_editor(parts, layout_tokenizer=layout_tokenizer, **loaded)


def test_the_folder_says_how_layouts_are_written(tmp_path):
    config, checkpoint = trained_editor(
        tmp_path, layout_tokenizer=dict(bins=(4, 8), template="paper", max_length=48)
    )
    export_diffusers(config, checkpoint, tmp_path / "out")
    prompts = (
        DetDiffusionInferencer(config, checkpoint, "cpu").model.layout_tokenizer.encode(layouts()).prompts
    )
    editor = start_from(tmp_path / "out", tmp_path)  # a config that says nothing
    assert editor.layout_tokenizer.encode(layouts()).prompts == prompts
    assert editor.layout_tokenizer.max_length == 48 and editor.layout_tokenizer.overflow == "largest"
    assert start_from(tmp_path / "out", tmp_path, overflow="chunk").layout_tokenizer.overflow == "chunk"
    for wrong, message in (
        (dict(template="compact"), "template is 'compact' in the config, but .* was trained with 'paper'"),
        (dict(bins=(8, 8)), r"bins is \(8, 8\) in the config, but .* was trained with \(4, 8\)"),
        (dict(attributes=False), "attributes is False in the config, but .* attribute tokens"),
        (dict(prefix="A photo of"), "prefix is 'A photo of' in the config"),
    ):
        with pytest.raises(UserError, match=message):
            start_from(tmp_path / "out", tmp_path, **wrong)
    (tmp_path / "out/layout_config.json").write_text("[")
    with pytest.raises(UserError, match="layout_config.json: not a layout config"):
        start_from(tmp_path / "out", tmp_path)


def test_attributes_can_be_added_and_a_base_without_layouts_binds_nothing(tmp_path):
    plain = dict(mask_head=None, perception_loss=None)
    config, checkpoint = trained_editor(
        tmp_path, layout_tokenizer=dict(bins=(4, 4), attributes=False, max_length=32), **plain
    )
    export_diffusers(config, checkpoint, tmp_path / "geo")
    assert not start_from(tmp_path / "geo", tmp_path).layout_tokenizer.attributes
    assert start_from(tmp_path / "geo", tmp_path, attributes=True).layout_tokenizer.attributes
    config, checkpoint = trained_editor(
        tmp_path, layout_tokenizer=dict(template="caption", max_length=32), **plain
    )
    export_diffusers(config, checkpoint, tmp_path / "base")
    assert start_from(tmp_path / "base", tmp_path).layout_tokenizer.template == "caption"
    tokenizer = start_from(tmp_path / "base", tmp_path, template="compact", bins=(4, 4)).layout_tokenizer
    assert tokenizer.attributes and tokenizer.max_length == 32


def test_an_autoencoder_gets_a_scaling_factor_from_its_training_images(tmp_path):
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for k in range(12):  # dark ones first: the factor should come from all of them
        picture = rng.integers(0, 20 if k < 6 else 256, (16, 16, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{k:02d}.png"), picture)
    vae = dict(type="AutoencoderKL", block_out_channels=[8], norm_num_groups=1)
    head = "default_scope = 'detdiffusion'\n"
    source = dict(img_dir=str(tmp_path / "images"), repeat=50)
    data = dict(dataset=dict(type="ImagePatches", size=16, sources=[source]))
    model = dict(type="Autoencoder", vae=vae, linear_start=True)
    (tmp_path / "config.py").write_text(f"{head}model = {model!r}\ntrain_dataloader = {data!r}\n")
    torch.manual_seed(0)
    trained = Autoencoder(vae, linear_start=True)
    torch.save(dict(state_dict=trained.state_dict()), tmp_path / "weights.pth")
    for out in ("first", "second"):
        sizes = export_diffusers(str(tmp_path / "config.py"), tmp_path / "weights.pth", tmp_path / out)
        assert sizes.keys() == {"vae"}
    first, second = (AutoencoderKL.from_pretrained(tmp_path / out / "vae") for out in ("first", "second"))
    assert first.config.scaling_factor == second.config.scaling_factor
    pictures = [cv2.imread(str(path)) for path in sorted((tmp_path / "images").glob("*.png"))]
    inputs = torch.from_numpy(np.stack(pictures)[..., ::-1].copy()).permute(0, 3, 1, 2) / 127.5 - 1
    latents = first.encode(inputs).latent_dist.sample() * first.config.scaling_factor
    assert latents.std().item() == pytest.approx(1, abs=0.05)
