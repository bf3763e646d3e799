"""Parts from folders that other versions of transformers have written."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_editor import build_editor, layouts
from tiny_folder import write_diffusers_folder
from transformers import CLIPTokenizerFast

from detdiffusion.models.editors.detdiffusion.components import (
    build_component,
    build_sampling_scheduler,
    check_sources,
)
from detdiffusion.utils import zoo
from detdiffusion.utils.compat import fit_clip_names
from detdiffusion.utils.errors import UserError


def text_encoder(folder):
    spec = dict(type="CLIPTextModel", from_pretrained=str(folder), subfolder="text_encoder")
    return build_component(spec, "text_encoder")


def other_names(state, prefix=""):
    """The names of before transformers 5.6 as those of after, or the other way round."""
    inner = f"{prefix}text_model."
    nested = any(name.startswith(inner) for name in state)
    return {
        (prefix + name.removeprefix(inner) if nested else inner + name.removeprefix(prefix))
        if name.startswith(prefix)
        else name: value
        for name, value in state.items()
    }


def test_a_text_encoder_of_another_version_keeps_its_weights(tmp_path):
    folder = write_diffusers_folder(tmp_path / "sd")
    file = folder / "text_encoder/model.safetensors"
    # copies: tensors that safetensors maps from a file change with it
    expected = {name: tensor.clone() for name, tensor in text_encoder(folder).state_dict().items()}
    state = other_names({name: tensor.clone() for name, tensor in load_file(file).items()})
    save_file(state, file, metadata=dict(format="pt"))
    loaded = text_encoder(folder).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    state.popitem()
    save_file(state, file, metadata=dict(format="pt"))
    with pytest.raises(UserError, match="text_encoder: .*model.safetensors lacks 1 tensors"):
        text_encoder(folder)


def test_a_checkpoint_of_another_version_loads_strictly(tmp_path):
    from detdiffusion.utils.checkpoint import load_strictly

    editor, again = build_editor(tmp_path), build_editor(tmp_path, seed=1)
    state = other_names(editor.state_dict(), "text_encoder.")
    assert state.keys() != editor.state_dict().keys()
    load_strictly(again, state, "checkpoint")
    assert all(torch.equal(a, b) for a, b in zip(editor.state_dict().values(), again.state_dict().values()))
    with pytest.raises(UserError, match="1 tensors missing"):
        load_strictly(
            again, {k: v for k, v in state.items() if "final_layer_norm.bias" not in k}, "checkpoint"
        )


def test_names_that_fit_stay():
    for own in (["t.text_model.a", "unet.b"], ["t.a", "unet.b"]):
        for names in (["t.text_model.a", "unet.b"], ["t.a", "unet.b"]):
            state = dict.fromkeys([*names, "t.text_model.embeddings.position_ids"], 0)
            fit_clip_names(state, own, "t.")
            assert sorted(state) == sorted(own)


def test_a_tokenizer_that_is_one_json_file_gives_the_same_ids(tmp_path):
    """As transformers 5 saves it, without vocab.json and merges.txt."""
    editor = build_editor(tmp_path)
    folder = tmp_path / "saved/tokenizer"
    editor.tokenizer.save_pretrained(folder)
    CLIPTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink(missing_ok=True)
    spec = dict(type="CLIPTokenizer", from_pretrained=str(folder.parent), subfolder="tokenizer")
    again = build_editor(tmp_path, tokenizer=spec)
    ids = again.layout_tokenizer.encode(layouts()).input_ids
    assert torch.equal(ids, editor.layout_tokenizer.encode(layouts()).input_ids)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("AutoencoderKL", "AutoencoderKL is not a scheduler"),
        ("logging", "logging is not a sch"),
        ("DPM", "no class 'DPM'"),
    ],
)
def test_what_is_no_sampling_scheduler(kind, message):
    like = build_component(dict(type="DDPMScheduler"), "scheduler")
    with pytest.raises(UserError, match=f"test_scheduler: .*{message}"):
        build_sampling_scheduler(dict(type=kind), like, "test_scheduler")


def test_the_hub_is_asked_only_where_the_config_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = dict(
        type="DetDiffusion", vae=dict(type="AutoencoderKL", from_pretrained="owner/name", subfolder="vae")
    )
    for look in (lambda: check_sources(model), lambda: build_component(model["vae"], "vae")):
        with pytest.raises(UserError, match=r"vae: no folder 'owner/name/vae'.*hub://owner/name"):
            look()
    (tmp_path / "owner").mkdir()  # then it is a path gone wrong
    with pytest.raises(UserError, match="no folder 'owner/name/vae'") as error:
        check_sources(model)
    assert "hub" not in str(error.value)
    check_sources(
        dict(vae=dict(from_pretrained="hub://owner/name"), tokenizer=dict(from_pretrained="a.safetensors"))
    )


PARTS = dict(unet="UNet2DConditionModel", vae="AutoencoderKL", text_encoder="CLIPTextModel")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("role", PARTS)
def test_one_value_that_is_not_finite_is_found_in_every_part(role, bad, tmp_path):
    folder = write_diffusers_folder(tmp_path / "sd")
    spec = dict(type=PARTS[role], from_pretrained=str(folder), subfolder=role)
    build_component(spec, role)
    (file,) = (folder / role).glob("*.safetensors")
    state = {name: value.half() if bad > 0 else value for name, value in load_file(file).items()}
    name = sorted(name for name in state if name.endswith("weight"))[len(state) // 4]
    state[name].view(-1)[3] = bad
    save_file(state, file, metadata=dict(format="pt"))
    with pytest.raises(
        UserError, match=rf"{role}: .*sd/{role}: 1 of {len(state)} tensors are not finite: .*{name}"
    ):
        build_component(spec, role)


def test_models_of_the_zoo_without_a_vae_share_one(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "ZOO_FOLDER", tmp_path)
    monkeypatch.setattr(zoo, "SHARED_VAE", "shared")
    shutil.move(write_diffusers_folder(tmp_path / "own") / "vae", tmp_path / "shared" / "vae")
    write_diffusers_folder(tmp_path / "whole")
    for name, expected in (("own", "shared"), ("whole", "whole")):
        assert zoo.resolve_source(f"zoo://{name}", "vae") == str(tmp_path / expected)
        assert zoo.resolve_source(f"zoo://{name}", "unet") == str(tmp_path / name)
    vae, same = (
        build_component(dict(type="AutoencoderKL", from_pretrained=f"zoo://{name}", subfolder="vae"), "vae")
        for name in ("own", "shared")
    )
    assert all(torch.equal(a, b) for a, b in zip(vae.parameters(), same.parameters(), strict=True))
    assert zoo.resolve_source("zoo://whole/", "vae") == str(tmp_path / "whole")
    with pytest.raises(UserError, match="no weights 'zoo://'"):
        zoo.resolve_source("zoo://")
    with pytest.raises(UserError, match="no weights 'zoo://other'.*zoo://own, zoo://shared, zoo://whole"):
        zoo.resolve_source("zoo://other", "vae")


def test_every_model_of_the_zoo_has_a_vae_of_its_latents():
    for folder in zoo.ZOO_FOLDER.iterdir():
        if (folder / "unet").is_dir():
            vae = Path(zoo.resolve_source(f"zoo://{folder.name}", "vae"), "vae/config.json")
            unet = json.loads((folder / "unet/config.json").read_text())
            assert unet["out_channels"] == json.loads(vae.read_text())["latent_channels"], folder
            parts = dict(unet="UNet2DConditionModel", vae="AutoencoderKL")
            source = dict(from_pretrained=f"zoo://{folder.name}")
            check_sources({name: dict(source, type=kind, subfolder=name) for name, kind in parts.items()})
