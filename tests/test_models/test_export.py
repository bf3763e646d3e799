"""An exported generator in plain diffusers, and as the start of another config."""

import json

import pytest
import torch
from diffusers import StableDiffusionPipeline
from tiny_editor import build_editor, editor_config, layouts

from detdiffusion.apis.inferencer import DetDiffusionInferencer
from detdiffusion.models.editors.converters.diffusers_folder import export_diffusers
from detdiffusion.models.editors.detdiffusion.sampler import initial_noise
from detdiffusion.utils.errors import UserError

DRAWING = dict(num_inference_steps=4, guidance_scale=3.5)


def generators():
    return [torch.Generator().manual_seed(seed) for seed in (1, 2)]


def trained(folder, **overrides):
    """A config and a checkpoint of it, whose weights a few steps have moved."""
    config = editor_config(folder, **overrides)
    config["tokenizer"]["model_max_length"] = 32
    head = "default_scope = 'detdiffusion'\ncustom_imports = dict(imports=['detdiffusion.models'])\n"
    data = "train_dataloader = dict(dataset=dict(filter_cfg=dict(max_objects=8)))\n"
    (folder / "config.py").write_text(f"{head}{data}model = {config!r}\n")
    editor = build_editor(folder, **overrides)
    optimizer = torch.optim.AdamW([p for p in editor.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(2):
        sum(editor._losses(torch.randn(2, 4, 8, 8), layouts()).values()).backward()
        optimizer.step()
    meta = dict(dataset_meta=dict(classes=("ball", "pine tree", "sky")))
    torch.save(dict(state_dict=editor.state_dict(), meta=meta), folder / "weights.pth")
    return str(folder / "config.py"), folder / "weights.pth"


@pytest.mark.parametrize("lora", [None, dict(r=2)], ids=["full", "lora"])
def test_plain_diffusers_draws_the_same(tmp_path, lora):
    if lora:
        pytest.importorskip("peft")
    config, checkpoint = trained(tmp_path, lora=lora)
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
    config, checkpoint = trained(
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
    config, checkpoint = trained(
        tmp_path, layout_tokenizer=dict(bins=(4, 4), attributes=False, max_length=32), **plain
    )
    export_diffusers(config, checkpoint, tmp_path / "geo")
    assert not start_from(tmp_path / "geo", tmp_path).layout_tokenizer.attributes
    assert start_from(tmp_path / "geo", tmp_path, attributes=True).layout_tokenizer.attributes
    config, checkpoint = trained(tmp_path, layout_tokenizer=dict(template="caption", max_length=32), **plain)
    export_diffusers(config, checkpoint, tmp_path / "base")
    assert start_from(tmp_path / "base", tmp_path).layout_tokenizer.template == "caption"
    tokenizer = start_from(tmp_path / "base", tmp_path, template="compact", bins=(4, 4)).layout_tokenizer
    assert tokenizer.attributes and tokenizer.max_length == 32
