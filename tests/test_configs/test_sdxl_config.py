"""The config of Stable Diffusion XL: its variables, its memory, and training from a folder of tiny parts."""

import re
from pathlib import Path

import pytest
import torch
from tiny_editor import build_editor, layouts
from tiny_folder import save_parts
from tiny_sdxl import sdxl_parts

from detdiffusion.models.editors.detdiffusion.single_file import sdxl_part
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError

CONFIG = Path(__file__).resolve().parents[2] / "configs/detdiffusion_sdxl_coco.py"
TOKENS = 256 * 256 + 3
SMALL = ["model.layout_tokenizer.max_length=32", "model.layout_tokenizer.bins=(4,4)", "model.dtype=fp32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A diffusers folder like SDXL's, at tiny size."""
    pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("sdxl") / "sdxl"
    plain = dict(
        mask_head=None, perception_loss=None, layout_tokenizer=dict(template="caption", max_length=32)
    )
    editor = build_editor(folder / "parts", **sdxl_parts(folder / "parts"), **plain)
    save_parts(editor, folder)
    editor.text_encoder_2.save_pretrained(folder / "text_encoder_2")
    editor.backbone.tokenizer_2.save_pretrained(folder / "tokenizer_2")
    return folder


def build(config, **parts):
    from mmengine.registry import init_default_scope

    import detdiffusion.models  # noqa: F401
    from detdiffusion.registry import MODELS

    init_default_scope("detdiffusion")
    return MODELS.build({**config.model.to_dict(), **parts})


def test_variables_move_every_path_and_size():
    config = load_config(str(CONFIG), ["sd_folder=/new/sd", "data_root=/new/data", "image_size=(512,768)"])
    model = config.model
    parts = [*model.values(), *model.backbone.values()]
    parts = [part for part in parts if isinstance(part, dict) and "from_pretrained" in part]
    assert len(parts) == 7 and {part.from_pretrained for part in parts} == {"/new/sd"}
    assert len({part.subfolder for part in parts}) == 7
    assert model.unet.sample_size == [64, 96]
    sizes = [tuple(size) for size in config.train_dataloader.dataset.pipeline[0].size]
    assert all(side % 64 == 0 for size in sizes for side in size) and len(set(sizes)) == 7
    assert all(abs(h * w / (512 * 768) - 1) < 0.1 for h, w in sizes)
    small = load_config(str(CONFIG), ["image_size=(256,256)"]).image_sizes
    assert len(small) == len({*map(tuple, small)}) == 3
    assert config.train_dataloader.dataset.data_root == "/new/data"
    base = load_config(str(CONFIG.with_name("detdiffusion_coco.py")))
    for name in ("mask_head", "perception_loss", "noise_loss", "layout_tokenizer", "null_text_prob"):
        assert model[name] == base.model[name]
    assert config.optim_wrapper.accumulative_counts * config.train_dataloader.batch_size == 4


def test_it_builds_and_learns(folder):
    options = [f"sd_folder={folder}", "model.layout_condition=both", *SMALL]
    editor = build(load_config(str(CONFIG), options)).train()
    torch.manual_seed(0)
    losses = editor._losses(torch.randn(2, 4, 8, 8), layouts())
    assert set(losses) == {"loss_ldm", "loss_pa"}
    sum(losses.values()).backward()
    optimizer = torch.optim.AdamW([p for p in editor.parameters() if p.requires_grad])
    optimizer.step()
    weights = list(editor.parameters())
    trained = [p for p in weights if p.requires_grad]
    moments = [s[name] for s in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    tensors = [*weights, *(p.grad for p in trained), *moments]
    computed = 4 * sum(p.numel() for p in weights) + 12 * sum(p.numel() for p in trained)
    assert sum(tensor.nbytes for tensor in tensors) == computed  # the formula of the config's memory
    learned = {name.partition(".")[0] for name, p in editor.named_parameters() if p.requires_grad}
    assert learned == {"unet", "text_encoder", "text_encoder_2", "mask_head"}
    assert editor.unet.conv_in.weight.requires_grad


def test_a_missing_folder_is_one_message():
    from detdiffusion.models.editors.detdiffusion.components import check_sources

    config = load_config(str(CONFIG))
    with pytest.raises(UserError, match="vae: no folder"):
        check_sources(config.model)
    only_second = dict(backbone=config.model.backbone)
    with pytest.raises(UserError, match="text_encoder_2: no folder .*text_encoder_2"):
        check_sources(only_second)


@pytest.fixture(scope="module")
def real_size(folder):
    """The config's model with SDXL's shapes and a tiny vocabulary of the layout, without memory for its weights."""
    from diffusers import DDPMScheduler, DPMSolverMultistepScheduler

    config = load_config(str(CONFIG), [f"sd_folder={folder}", "model.gradient_checkpointing=False", *SMALL])
    parts = {role: sdxl_part(role) for role in ("unet", "vae", "text_encoder", "text_encoder_2")}
    backbone = dict(config.model.backbone, text_encoder_2=parts.pop("text_encoder_2"))
    parts.update(scheduler=DDPMScheduler(), test_scheduler=DPMSolverMultistepScheduler(), backbone=backbone)
    with torch.device("meta"):
        return build(config, **parts)


def test_the_memory_that_it_names_is_that_of_its_parameters(real_size):
    few = len(real_size.layout_tokenizer.layout_ids)
    weights, learned = (
        sum(p.numel() for p in real_size.parameters() if p.requires_grad or every) for every in (True, False)
    )
    for encoder in (real_size.text_encoder, real_size.text_encoder_2):
        rows, width = encoder.config.vocab_size, encoder.config.hidden_size
        weights += (
            49408 + TOKENS - rows + TOKENS - few
        ) * width  # the real vocabulary, and peft's copy of the tokens
        learned += (TOKENS - few) * width
    text = CONFIG.read_text()
    named = re.search(r"Memory a GPU: ([\d.]+) GB \(computed, not measured", text)[1]
    assert float(named) == round((4 * weights + 12 * learned) / 1e9, 1)
    assert (
        f"each of {round(learned / 1e6)} million" in text
        and f"{round(4 * weights / 1e9, 1)} GB of weights" in text
    )


def test_the_real_size_on_the_meta_device(real_size):
    """Parameter counts of the published parts, the noise loss at 1024 px, and the levels of the mask head."""

    def count(part):
        names = ("lora_", "trainable_tokens")
        return sum(p.numel() for name, p in part.named_parameters() if not any(n in name for n in names))

    assert count(real_size.unet) == 2_567_463_684
    assert count(real_size.vae) == 83_653_863
    assert (count(real_size.text_encoder), count(real_size.text_encoder_2)) == (123_060_480, 694_659_840)
    assert real_size.image_size == (1024, 1024) and real_size.latent_scale == 8
    encoded = real_size.layout_tokenizer.encode(layouts())
    prompts = real_size.backbone.encode_layouts(encoded, (1024, 1024), [(480, 640, 0, 0)] * 2)
    assert prompts.states.shape == (2, 32, 768 + 1280) and prompts.extra["text_embeds"].shape == (2, 1280)
    latents = torch.empty(2, 4, 128, 128, device="meta")
    taps = real_size.backbone.feature_taps("decoder")
    with taps:
        prediction = real_size.backbone.predict(latents, torch.zeros(2, device="meta"), prompts)
    assert taps.channels == [1280, 640, 320]
    assert [tuple(f.shape) for f in taps.features] == [
        (2, 1280, 32, 32),
        (2, 640, 64, 64),
        (2, 320, 128, 128),
    ]
    boxes = [layout.boxes for layout in layouts()]  # a loss has no value on the meta device
    loss = real_size.noise_loss(torch.zeros(prediction.shape), torch.ones(latents.shape), boxes)
    assert prediction.requires_grad and loss.item() == pytest.approx(1)
