"""Stable Diffusion XL: the stock pipeline as oracle, gradients, conditions, single files."""

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from ldm_names import write_single_file
from tiny_editor import build_editor, editor_config, layouts
from tiny_sdxl import sdxl_parts
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from detdiffusion.apis.inferencer import DetDiffusionInferencer
from detdiffusion.models.editors.converters.diffusers_folder import export_diffusers
from detdiffusion.models.editors.detdiffusion.sampler import initial_noise
from detdiffusion.utils.errors import UserError

LATENTS = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
DRAWING = dict(num_inference_steps=3, guidance_scale=3.5)
PARTS = dict(unet="UNet2DConditionModel", vae="AutoencoderKL", scheduler="DDPMScheduler")
PARTS |= dict(text_encoder="CLIPTextModel", tokenizer="CLIPTokenizer")
SECOND = dict(text_encoder_2="CLIPTextModelWithProjection", tokenizer_2="CLIPTokenizer")


def build(folder, **overrides):
    return build_editor(folder, **{**sdxl_parts(folder), **overrides})


def generators():
    return [torch.Generator().manual_seed(seed) for seed in (1, 2)]


def images_of(editor):
    return editor.eval().infer(layouts(), generators=generators(), **DRAWING)["samples"]


def losses_of(editor):
    torch.manual_seed(3)
    return editor._losses(LATENTS, layouts())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Images and prompts of a generator with trained low-rank updates, and its folder, exported from a checkpoint."""
    pytest.importorskip("peft")
    root = tmp_path_factory.mktemp("sdxl")
    overrides = dict(sdxl_parts(root), lora=dict(r=2))
    overrides["unet"]["sample_size"] = [8, 8]  # as configs state it
    head = "default_scope = 'detdiffusion'\ncustom_imports = dict(imports=['detdiffusion.models'])\n"
    (root / "config.py").write_text(f"{head}model = {editor_config(root, **overrides)!r}\n")
    editor = build_editor(root, **overrides)
    optimizer = torch.optim.AdamW([p for p in editor.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        sum(losses_of(editor).values()).backward()
        optimizer.step()
    torch.save(dict(state_dict=editor.state_dict(), meta={}), root / "weights.pth")
    images = images_of(editor)
    resumed = DetDiffusionInferencer(str(root / "config.py"), root / "weights.pth", "cpu").model
    assert torch.equal(images_of(resumed), images)
    export_diffusers(str(root / "config.py"), root / "weights.pth", root / "out")
    return images, editor.layout_tokenizer.encode(layouts()).prompts, root / "out"


def test_the_stock_pipeline_draws_the_same(exported):
    """Its own tokenizers, text encoders, pooled states, sizes, and null prompt."""
    images, prompts, folder = exported
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    noise = initial_noise((4, 8, 8), generators())
    drawn = pipeline(prompts, latents=noise, output_type="pt", **DRAWING).images
    torch.testing.assert_close(drawn, images, atol=1e-5, rtol=0)


def test_both_encoders_get_a_finer_grid(exported, tmp_path):
    """Bins of 7 x 7 contain those of 4 x 4: their corners keep embeddings, in both encoders."""
    from detdiffusion.models.editors.converters.location_grid import resize_location_grid

    _, _, folder = exported
    assert resize_location_grid(folder, tmp_path / "fine", (7, 7)) == 49
    for kind, role, tokenizer in (
        (CLIPTextModel, "text_encoder", "tokenizer"),
        (CLIPTextModelWithProjection, "text_encoder_2", "tokenizer_2"),
    ):
        rows = []
        for source, index in ((folder, 4 + 1), (tmp_path / "fine", 2 * 7 + 2)):
            token = CLIPTokenizer.from_pretrained(source / tokenizer).convert_tokens_to_ids(f"<l{index}>")
            rows.append(kind.from_pretrained(source / role).get_input_embeddings().weight[token])
        torch.testing.assert_close(*rows)


def write_sdxl_file(folder, path):
    """The folder's parts as one file with the names of the original code."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from safetensors.torch import load_file, save_file

    parts = dict(unet=UNet2DConditionModel, vae=AutoencoderKL, text_encoder=CLIPTextModel)
    parts = {name: cls.from_pretrained(folder, subfolder=name) for name, cls in parts.items()}
    state = load_file(write_single_file(path, **parts))
    first, second = "cond_stage_model.transformer.", "conditioner.embedders.1.model."
    for name in [name for name in state if name.startswith(first)]:
        new = name.removeprefix(first).removeprefix("text_model.")
        state[f"conditioner.embedders.0.transformer.text_model.{new}"] = state.pop(name)
    model = CLIPTextModelWithProjection.from_pretrained(folder, subfolder="text_encoder_2")
    text = model.text_model
    state[f"{second}positional_embedding"] = text.embeddings.position_embedding.weight
    state[f"{second}token_embedding.weight"] = text.embeddings.token_embedding.weight
    state[f"{second}text_projection"] = model.text_projection.weight.T
    state[f"{second}logit_scale"] = torch.ones(())
    for kind in ("weight", "bias"):
        state[f"{second}ln_final.{kind}"] = getattr(text.final_layer_norm, kind)
        for k, layer in enumerate(text.encoder.layers):
            block, attention = f"{second}transformer.resblocks.{k}", layer.self_attn
            projections = (attention.q_proj, attention.k_proj, attention.v_proj)
            state[f"{block}.attn.in_proj_{kind}"] = torch.cat([getattr(p, kind) for p in projections])
            state[f"{block}.attn.out_proj.{kind}"] = getattr(attention.out_proj, kind)
            state[f"{block}.ln_1.{kind}"] = getattr(layer.layer_norm1, kind)
            state[f"{block}.ln_2.{kind}"] = getattr(layer.layer_norm2, kind)
            state[f"{block}.mlp.c_fc.{kind}"] = getattr(layer.mlp.fc1, kind)
            state[f"{block}.mlp.c_proj.{kind}"] = getattr(layer.mlp.fc2, kind)
    save_file({name: value.detach().contiguous() for name, value in state.items()}, path)
    return path


def test_folder_and_single_file_start_a_training_alike(exported, tmp_path):
    images, _, folder = exported
    path = write_sdxl_file(folder, folder / "model.safetensors")
    sources = {}
    for name, source in (("folder", folder), ("file", path)):
        parts = {}
        for role, kind in {**PARTS, **SECOND}.items():
            parts[role] = dict(type=kind, from_pretrained=str(source))
            if name == "folder":
                parts[role]["subfolder"] = role
            elif not role.startswith("tokenizer"):
                parts[role]["config"] = str(folder)
        backbone = dict(type="StableDiffusionXL", **{role: parts.pop(role) for role in SECOND})
        sources[name] = dict(parts, backbone=backbone)
    for parts in sources.values():
        torch.testing.assert_close(images_of(build_editor(tmp_path, **parts)), images, atol=1e-5, rtol=0)
    unknown = dict(sources["file"]["unet"])
    del unknown["config"]
    with pytest.raises(UserError, match="nor one of SDXL .*no such tensor, it should be .640, 2048."):
        build_editor(tmp_path, **dict(sources["file"], unet=unknown))


@pytest.mark.parametrize("lora", [None, dict(r=2)], ids=["full", "lora"])
def test_every_trained_weight_has_a_gradient(tmp_path, lora):
    if lora:
        pytest.importorskip("peft")
    editor = build(tmp_path, lora=lora, null_text_prob=0.5)
    losses = losses_of(editor)
    losses["loss_pa"].backward(retain_graph=True)
    reached = {name for name, p in editor.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    for part in ("unet", "text_encoder", "text_encoder_2", "mask_head"):
        assert any(name.startswith(f"{part}.") for name in reached)
    assert lora or {"unet.conv_in.weight", "unet.add_embedding.linear_1.weight"} <= reached
    losses["loss_ldm"].backward()
    missing = [name for name, p in editor.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing  # torch's DistributedDataParallel refuses such parameters


def test_sizes_and_the_empty_prompt_are_conditions(tmp_path):
    editor = build(tmp_path, mask_head=None, perception_loss=None, null_text_prob=1.0)
    seen = []
    editor.unet.register_forward_pre_hook(lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True)
    sized, unsized = layouts()
    sized.height, sized.width = 480, 640
    unsized.crop = (0.0, 0.5, 0.25, 1.0)
    editor._losses(LATENTS, [sized, unsized.flip()])
    added = seen[0]["added_cond_kwargs"]
    assert added["time_ids"].tolist() == [[480, 640, 0, 0, 32, 32], [32, 32, 32, 96, 32, 32]]
    assert not seen[0]["encoder_hidden_states"].any() and not added["text_embeds"].any()
    editor.eval().infer([sized], height=16, width=32, num_inference_steps=1)
    added = seen[1]["added_cond_kwargs"]
    assert added["time_ids"].tolist() == [[16, 32, 0, 0, 16, 32]] * 2
    null, states = seen[1]["encoder_hidden_states"].chunk(2)
    assert not null.any() and states.any() and added["text_embeds"].any(dim=1).tolist() == [False, True]
    editor.backbone.source_size = (480, 640)
    editor.eval().infer([sized], num_inference_steps=1)
    assert seen[2]["added_cond_kwargs"]["time_ids"].tolist() == [[480, 640, 0, 0, 32, 32]] * 2


def test_the_second_encoder_has_its_padding_and_the_layouts_tokens(tmp_path):
    editor = build(tmp_path)
    ids = editor.layout_tokenizer.encode(layouts()).input_ids
    own = editor.backbone._second_ids(ids, 32)
    texts = editor.layout_tokenizer.encode(layouts()).prompts
    stock = editor.backbone.tokenizer_2(
        texts, padding="max_length", max_length=32, return_tensors="pt"
    ).input_ids
    assert torch.equal(own, stock) and not torch.equal(own, ids)
    weight = editor.text_encoder_2.get_input_embeddings().weight
    token = editor.tokenizer.convert_tokens_to_ids
    assert torch.equal(weight[token("[hard]")], weight[token("hard</w>")])
    assert weight[token("<l0>")].abs().max() == 1  # cos(0) of the sine-cosine grid


def test_chunks_and_the_blueprint_work_as_with_other_backbones(tmp_path):
    tokenizer = dict(bins=(4, 4), max_length=14, overflow="chunk")
    losses = [
        losses_of(build(tmp_path, layout_tokenizer=tokenizer, layout_condition=condition))
        for condition in ("tokens", "both")
    ]
    for name, value in losses[0].items():
        torch.testing.assert_close(losses[1][name], value, atol=1e-6, rtol=1e-6)


def test_another_vocabulary_is_refused(tmp_path):
    parts = sdxl_parts(tmp_path)
    (tmp_path / "other").mkdir()
    from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer

    write_small_tokenizer(tmp_path / "other/tokenizer", ["an", "image", "with"])
    parts["backbone"]["tokenizer_2"] = dict(parts["tokenizer"], from_pretrained=str(tmp_path / "other"))
    with pytest.raises(UserError, match="tokenizer_2: its vocabulary is not that of tokenizer"):
        build_editor(tmp_path, **parts)
