"""Starting from one safetensors file in the original Stable Diffusion form."""

import pytest
import torch
from ldm_names import write_single_file
from safetensors.torch import load_file, save_file
from tiny_editor import build_editor, layouts
from tiny_folder import write_diffusers_folder

from detdiffusion.models.editors.detdiffusion.components import build_component
from detdiffusion.models.editors.detdiffusion.single_file_configs import SD1_CONFIGS
from detdiffusion.utils.errors import UserError

PARTS = dict(unet="UNet2DConditionModel", vae="AutoencoderKL", text_encoder="CLIPTextModel")
PARTS |= dict(scheduler="DDPMScheduler", tokenizer="CLIPTokenizer")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A diffusers folder, and ``model.safetensors`` with the same weights beside its ``tokenizer``."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    folder = write_diffusers_folder(tmp_path_factory.mktemp("sd") / "sd")
    classes = dict(unet=UNet2DConditionModel, vae=AutoencoderKL, text_encoder=CLIPTextModel)
    parts = {name: cls.from_pretrained(folder, subfolder=name) for name, cls in classes.items()}
    write_single_file(folder / "model.safetensors", **parts)
    return folder


def specs(source, **options):
    return {
        role: dict(type=kind, from_pretrained=str(source), **({} if role == "tokenizer" else options))
        for role, kind in PARTS.items()
    }


def test_the_file_gives_what_the_folder_gives(folder):
    from_file = specs(folder / "model.safetensors", config=str(folder))
    from_folder = {role: dict(spec, subfolder=role) for role, spec in specs(folder).items()}
    images, tokenizer = [], dict(template="compact", bins=(4, 4), max_length=48)
    for parts in (from_file, from_folder):
        editor = build_editor(folder / "parts", layout_tokenizer=tokenizer, **parts).eval()
        seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        images.append(editor.infer(layouts(), num_inference_steps=3, generators=seeds)["samples"])
    assert torch.equal(*images)


def test_the_configurations_are_stable_diffusions():
    """Parameter counts of the published parts; the scheduler's alphas are tested with the loss."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    def count(module):
        return sum(p.numel() for p in module.parameters())

    with torch.device("meta"):
        assert count(UNet2DConditionModel.from_config(dict(SD1_CONFIGS["unet"]))) == 859_520_964
        assert count(AutoencoderKL.from_config(dict(SD1_CONFIGS["vae"]))) == 83_653_863
        assert count(CLIPTextModel(CLIPTextConfig(**SD1_CONFIGS["text_encoder"]))) == 123_060_480


def test_wrong_files_are_one_message(folder, tmp_path):
    def fails(source, message, role="unet", **options):
        with pytest.raises(UserError, match=message):
            build_component(specs(source, **options)[role], role)

    fails(tmp_path / "nowhere.safetensors", "unet: no file .*nowhere.safetensors")
    fails(
        folder / "model.safetensors",
        r"not a Stable Diffusion 1.x checkpoint .*shape \[16, 16\].*\[320, 768\]",
    )
    (tmp_path / "model.ckpt").write_bytes(b"pickle")
    fails(tmp_path / "model.ckpt", "model.ckpt is a pickle file")
    (tmp_path / "text.safetensors").write_text("nothing")
    fails(tmp_path / "text.safetensors", "text.safetensors: not a safetensors file")
    state = load_file(folder / "model.safetensors")
    for part in ("model.diffusion_model.out.2.weight", "first_stage_model.quant_conv.weight"):
        save_file({k: v for k, v in state.items() if k != part}, tmp_path / "part.safetensors")
        role = "unet" if "diffusion" in part else "vae"
        fails(tmp_path / "part.safetensors", f"{role}: ", role, config=str(folder))
    save_file({k: v for k, v in state.items() if "cond_stage" not in k}, tmp_path / "part.safetensors")
    fails(
        tmp_path / "part.safetensors", "has no tensors cond_stage_model", "text_encoder", config=str(folder)
    )


@pytest.mark.parametrize("role", ["unet", "vae", "text_encoder"])
def test_weights_that_are_not_finite_are_found(role, folder, tmp_path):
    state = load_file(folder / "model.safetensors")
    prefix = dict(unet="model.diffusion_model.", vae="first_stage_model.", text_encoder="cond_stage_model.")
    name = sorted(name for name in state if name.startswith(prefix[role]) and name.endswith("weight"))[3]
    state[name] = state[name].clone()
    state[name].view(-1)[0] = float("nan")
    save_file(state, tmp_path / "model.safetensors")
    spec = specs(tmp_path / "model.safetensors", config=str(folder))[role]
    with pytest.raises(UserError, match=f"{role}: .*model.safetensors: 1 of .* not finite: .* .1 NaN of"):
        build_component(spec, role)
