"""The editor's settings in groups, beside the flat keys of earlier configs."""

import pytest
from mmengine.config import Config
from tiny_editor import build_editor, editor_config

from detdiffusion.models.editors.detdiffusion import options
from detdiffusion.models.editors.detdiffusion.options import FLAT_KEYS, group_of, read_options
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError

GROUPS = dict(perception=None, conditioning=None, memory=None)


def read(flat=None, **groups):
    return read_options({**GROUPS, **groups}, flat or {})


def test_a_flat_key_beats_its_group():
    settings = read(
        dict(null_text_prob=0.3, dtype="bf16"), conditioning=dict(null_text_prob=0.2, noise_offset=0.1)
    )
    assert settings["conditioning"].null_text_prob == 0.3 and settings["conditioning"].noise_offset == 0.1
    assert settings["memory"].dtype == "bf16" and not settings["memory"].cache_latents


def test_a_flat_dict_is_merged_over_the_groups():
    """docs/guides/configs.md: model = dict(perception_loss=dict(loss_weight=0.02))."""
    group = dict(mask_head=dict(type="MaskHead"), loss=dict(type="PerceptionAwareLoss", loss_weight=0.01))
    settings = read(dict(perception_loss=dict(loss_weight=0.02)), perception=group)
    assert settings["perception"].loss == dict(type="PerceptionAwareLoss", loss_weight=0.02)
    assert group["loss"]["loss_weight"] == 0.01


def test_what_a_flat_key_overrides_is_named(monkeypatch):
    notes = []
    monkeypatch.setattr(options, "print_log", lambda text, logger: notes.append(text))
    group = dict(mask_head=dict(type="MaskHead"), loss=dict(type="PerceptionAwareLoss", loss_weight=0.5))
    flat = dict(perception_loss=dict(loss_weight=0.02), dtype="bf16", null_text_prob=0.3)
    read(flat, perception=group, memory=dict(dtype="fp16"), conditioning=dict(null_text_prob=0.3))
    assert [note.split(":")[1].strip() for note in notes] == [
        "model.perception.loss.loss_weight=0.5 has no effect",
        "model.memory.dtype='fp16' has no effect",
    ]


@pytest.mark.parametrize(
    "flat, groups, message",
    [
        (dict(perception_los=None), {}, "no argument 'perception_los'"),
        (dict(loss=dict()), {}, "no argument 'loss'"),
        ({}, dict(memory=dict(dtyp="fp16")), r"model.memory has no field 'dtyp'"),
        (dict(mask_head=dict()), {}, "come together"),
        (dict(dtype="fp8"), {}, "dtype must be one of"),
        (dict(grounding_loss=dict(), compile=True), {}, "grounding_loss needs the attention"),
        (dict(null_text_prob=2), {}, r"null_text_prob must lie in \[0, 1\]"),
    ],
)
def test_what_does_not_go_together(flat, groups, message):
    with pytest.raises(UserError, match=message):
        read(flat, **groups)


def test_every_key_of_earlier_configs_has_a_group():
    flat = "mask_head perception_loss taps perception_on_null_text grounding_loss null_text_prob noise_offset dtype "
    flat += "gradient_checkpointing cache_latents channels_last compile"
    assert all(group_of(key) for key in flat.split())


def test_groups_and_flat_keys_build_the_same_editor(tmp_path):
    flat = build_editor(tmp_path / "flat", taps="down+up", null_text_prob=0.4, dtype="bf16")
    config = editor_config(tmp_path / "grouped")
    grouped = build_editor(
        tmp_path / "grouped",
        perception=dict(mask_head=config["mask_head"], loss=config["perception_loss"], taps="down+up"),
        conditioning=dict(null_text_prob=0.4),
        memory=dict(dtype="bf16"),
    )
    assert flat.conditioning == grouped.conditioning and flat.memory == grouped.memory
    own, other = flat.state_dict(), grouped.state_dict()
    assert own.keys() == other.keys() and all(own[name].equal(other[name]) for name in own)


@pytest.mark.parametrize("overflow", ["random", None, "all"])
def test_an_overflow_policy_is_one_of_the_registered(tmp_path, overflow):
    with pytest.raises(UserError, match="overflow must be one of"):
        build_editor(tmp_path, layout_tokenizer=dict(bins=(4, 4), max_length=32, overflow=overflow))


def test_a_flat_dict_may_replace_the_groups():
    group = dict(mask_head=dict(type="MaskHead"), loss=dict(type="PerceptionAwareLoss", loss_weight=0.01))
    options = read(dict(perception_loss=dict(_delete_=True, type="Other")), perception=group)
    assert options["perception"].loss == dict(type="Other")


SCALARS = [key for key in FLAT_KEYS if key not in ("mask_head", "perception_loss", "grounding_loss")]


@pytest.mark.parametrize("key", SCALARS)
def test_flat_keys_pass_the_check_of_options(repo_root, key):
    config = load_config(str(repo_root / "configs/zoo/layout_miniscenes.py"), [f"model.{key}=1"])
    assert config.model[key] == 1


def test_a_misspelt_flat_key_is_said(repo_root):
    with pytest.raises(UserError, match="null_text_prob"):
        load_config(str(repo_root / "configs/zoo/layout_miniscenes.py"), ["model.null_text_pro=0.2"])


def test_the_readmes_override_on_a_grouped_config(tmp_path):
    config = editor_config(tmp_path)
    head, loss = config.pop("mask_head"), config.pop("perception_loss")
    base = Config(dict(model=dict(config, perception=dict(mask_head=head, loss=loss))))
    base.merge_from_dict({"model.perception_loss.loss_weight": 0.02})
    options = read(
        {"perception_loss": base.model.perception_loss}, perception=base.model.perception.to_dict()
    )
    assert options["perception"].loss == dict(type="PerceptionAwareLoss", loss_weight=0.02)
