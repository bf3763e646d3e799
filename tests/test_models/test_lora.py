"""LoRA: a frozen base, the layout's tokens and the mask head trained, merged weights that draw the same."""

import pytest
import torch
from tiny_editor import build_editor, layouts

from detdiffusion.models.editors.detdiffusion.lora import merge_lora
from detdiffusion.utils.errors import UserError

pytest.importorskip("peft")
LATENTS = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def train(editor, steps=3):
    optimizer = torch.optim.AdamW([p for p in editor.parameters() if p.requires_grad], lr=1e-2)
    torch.manual_seed(0)
    for _ in range(steps):
        losses = editor._losses(LATENTS, layouts())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()


def draw(editor):
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    return editor.infer(layouts(), num_inference_steps=3, generators=seeds)["samples"]


@pytest.mark.parametrize("text_targets", [("q_proj", "v_proj"), ()])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_only_the_new_parts_learn(tmp_path, text_targets, checkpointing):
    lora = dict(r=2, text_target_modules=text_targets)
    plain = build_editor(tmp_path)
    editor = build_editor(tmp_path, lora=lora, gradient_checkpointing=checkpointing)
    torch.testing.assert_close(draw(editor), draw(plain))  # a fresh update is zero
    before = {name: value.clone() for name, value in editor.state_dict().items()}
    train(editor.train())
    moved = {name for name, value in editor.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name in moved if name.startswith("unet.")} == {
        name for name in before if name.startswith("unet.") and ".lora_" in name
    }
    kinds = ("lora_", "trainable_tokens_delta") if text_targets else ("trainable_tokens_delta",)
    text = {name for name in moved if name.startswith("text_encoder.")}
    assert text and all(any(kind in name for kind in kinds) for name in text)
    assert any(name.startswith("mask_head.") for name in moved)
    embedding = next(value for name, value in before.items() if "trainable_tokens_delta" in name)
    assert len(embedding) == 4 * 4 + 3  # locations and attributes, no word


def test_merged_weights_draw_the_same_in_plain_modules(tmp_path):
    editor = build_editor(tmp_path, lora=dict(r=2, lora_alpha=8))
    train(editor)
    images = draw(editor.eval())
    for part in (editor.unet, editor.text_encoder):
        merge_lora(part)
    plain = build_editor(tmp_path, seed=1)
    for part in ("vae", "unet", "text_encoder"):
        getattr(plain, part).load_state_dict(getattr(editor, part).state_dict())  # strict: plain names again
    torch.testing.assert_close(draw(plain.eval()), images, atol=1e-5, rtol=0)
    merge_lora(plain.unet)  # nothing to merge


def test_its_checkpoint_loads_strictly(tmp_path):
    from detdiffusion.utils.checkpoint import load_checkpoint, load_strictly

    editor = build_editor(tmp_path, lora=dict(r=2))
    train(editor)
    torch.save(dict(state_dict=editor.state_dict()), tmp_path / "lora.pth")
    again = build_editor(tmp_path, seed=1, lora=dict(r=2))
    load_strictly(again, load_checkpoint(tmp_path / "lora.pth"), "checkpoint")
    assert torch.equal(draw(again.eval()), draw(editor.eval()))
    with pytest.raises(UserError, match="does not fit the model.*tensors missing"):
        load_strictly(build_editor(tmp_path), load_checkpoint(tmp_path / "lora.pth"), "checkpoint")


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (dict(r=0), "r must be at least 1"),
        (dict(target_modules=["to_x"]), "lora: unet: .*to_x"),
        (dict(text_target_modules=["to_x"]), "lora: text_encoder: .*to_x"),
    ],
)
def test_wrong_settings_are_one_message(tmp_path, lora, message):
    with pytest.raises(UserError, match=message):
        build_editor(tmp_path, lora=lora)
