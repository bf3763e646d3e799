"""Blueprints: areas that are exact, order, flips; an editor that starts as its base, trains, samples and exports."""

import json

import pytest
import torch
from tiny_editor import build_editor, editor_config, layouts

from detdiffusion.apis.inferencer import DetDiffusionInferencer
from detdiffusion.datasets.miniscenes import STUFF, THINGS
from detdiffusion.models.editors.converters.diffusers_folder import export_diffusers
from detdiffusion.models.editors.detdiffusion.blueprint import (
    CHANNELS,
    attribute_level,
    class_colour,
    draw_blueprint,
    object_codes,
)
from detdiffusion.models.editors.detdiffusion.layout_condition import Blueprint, read_condition
from detdiffusion.models.editors.detdiffusion.layout_config import settle_layout_config, write_layout_config
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

WORDS = ("easy", "hard", "background")
LATENTS = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def random_layout(count, seed=0):
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)).sort(dim=1).values
    names = ["ball", "pine tree", "sky"]
    return Layout(
        corners.reshape(count, 4), [names[k % 3] for k in range(count)], ["easy", "hard"] * (count // 2)
    )


def draw(layout, size):
    return Blueprint()([layout], size)[0]


def supersampled(layout, size, factor=40):
    """The oracle: objects painted on many points a cell, large ones first, and averaged."""
    height, width = (side * factor for side in size)
    y, x = ((torch.arange(side) + 0.5) / side for side in (height, width))
    canvas = torch.zeros(CHANNELS, height, width)
    codes = object_codes(layout.names, layout.attributes, WORDS)
    for k in sorted(range(len(layout)), key=lambda k: -layout.areas[k].item()):
        x1, y1, x2, y2 = layout.boxes[k]
        inside = ((y >= y1) & (y < y2))[:, None] & ((x >= x1) & (x < x2))
        canvas[:, inside] = codes[k][:, None]
    return torch.nn.functional.avg_pool2d(canvas[None], factor)[0]


def test_cells_have_the_mean_of_what_covers_them():
    layout = random_layout(8)
    torch.testing.assert_close(draw(layout, (7, 9)), supersampled(layout, (7, 9)), atol=0.06, rtol=0)
    one = Layout([[0.1, 0.25, 0.6, 0.875]], ["ball"], ["hard"])
    drawn = draw(one, (4, 5))
    assert drawn[-1].mean().item() == pytest.approx(0.5 * 0.625, abs=1e-6)  # covered area, exactly
    torch.testing.assert_close(drawn[-1, 1], torch.tensor([0.5, 1, 1, 0, 0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(drawn[-1, 3], torch.tensor([0.25, 0.5, 0.5, 0, 0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(drawn[:6, 2, 1], torch.tensor(class_colour("ball")))
    assert drawn[6, 2, 1] == 1 and not drawn[:, 0].any()


def test_small_objects_are_drawn_over_large_ones_in_any_order():
    layout = Layout([[0.25, 0.25, 0.5, 0.5], [0, 0, 1, 1]], ["ball", "sky"], ["hard", "background"])
    drawn = draw(layout, (4, 4))
    torch.testing.assert_close(drawn[:6, 1, 1], torch.tensor(class_colour("ball")))
    torch.testing.assert_close(drawn[:6, 1, 2], torch.tensor(class_colour("sky")))
    assert torch.equal(drawn, draw(layout.select([1, 0]), (4, 4)))


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "diagonal"])
@pytest.mark.parametrize("shapes", ["boxes", "masks"])
def test_a_flipped_layout_has_the_flipped_blueprint(direction, shapes):
    blueprint, axes = Blueprint(shapes=shapes), dict(horizontal=[-1], vertical=[-2], diagonal=[-1, -2])
    layout = layouts()[1]
    flipped = blueprint([layout.flip(direction)], (8, 8))[0]
    torch.testing.assert_close(
        flipped, blueprint([layout], (8, 8))[0].flip(axes[direction]), atol=1e-6, rtol=0
    )


def test_masks_are_pooled():
    layout = Layout([[0, 0, 1, 1]], ["ball"], ["hard"])
    layout.masks = torch.rand(1, 32, 48, generator=torch.Generator().manual_seed(0)) < 0.3
    drawn = Blueprint(shapes="masks")([layout], (8, 12))[0]
    pooled = torch.nn.functional.avg_pool2d(layout.masks.float(), 4)[0]
    torch.testing.assert_close(drawn[-1], pooled, atol=1e-6, rtol=0)
    assert torch.equal(Blueprint()([layout], (8, 12))[0][-1], torch.ones(8, 12))


def test_classes_and_levels_have_codes_of_their_own():
    names = [*THINGS, *STUFF, *(f"class {k}" for k in range(171))]
    colours = torch.tensor([class_colour(name) for name in names])
    assert torch.pdist(colours).min() > 0.1 and colours.abs().max() <= 1
    assert class_colour("dining-table") == class_colour("dining table")  # as in prompts
    words = ("easy", "middling", "hard", "background")
    assert [attribute_level(word, words) for word in (*words, None)] == [-1, 0, 1, 0, 0]
    assert attribute_level("easy", ("easy", "background")) == -1
    with pytest.raises(
        UserError, match="image 7: object 'ball' has the attribute None.*easy, hard, background"
    ):
        Blueprint()([Layout([[0, 0, 1, 1]], ["ball"], image_id=7)], (4, 4))
    codes = object_codes([], [], WORDS)
    assert torch.equal(draw_blueprint(codes, torch.zeros(0, 4), (3, 5)), torch.zeros(CHANNELS, 3, 5))


def losses_of(editor, latents=LATENTS):
    torch.manual_seed(3)
    return editor._losses(latents, layouts())


def images_of(editor, chosen=None, **options):
    chosen = chosen or layouts()
    seeds = [torch.Generator().manual_seed(seed) for seed in range(len(chosen))]
    return editor.eval().infer(chosen, num_inference_steps=3, generators=seeds, **options)["samples"]


def train(editor, steps=2):
    optimizer = torch.optim.AdamW([p for p in editor.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(steps):
        sum(editor._losses(LATENTS, layouts()).values()).backward()
        optimizer.step()


def test_the_first_step_is_the_bases(tmp_path):
    base = build_editor(tmp_path)
    both = build_editor(tmp_path, layout_condition="both")
    assert both.unet.config.in_channels == both.unet.conv_in.in_channels == 4 + CHANNELS
    assert build_editor(tmp_path, layout_condition="blueprint").backbone.has_new_attributes
    assert base.latent_shape(32, 32) == both.latent_shape(32, 32) == (4, 8, 8)
    expected, losses = losses_of(base), losses_of(both)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(images_of(both), images_of(base), atol=1e-6, rtol=0)


@pytest.mark.parametrize("condition", ["blueprint", "both"])
@pytest.mark.parametrize("lora", [None, dict(r=2)], ids=["full", "lora"])
def test_the_blueprint_is_learned(tmp_path, condition, lora):
    if lora:
        pytest.importorskip("peft")
    grounding = dict(type="AttentionGroundingLoss", min_size=2)
    editor = build_editor(
        tmp_path, layout_condition=condition, lora=lora, grounding_loss=grounding, null_text_prob=0.0
    )
    losses = losses_of(editor)
    assert set(losses) == {"loss_ldm", "loss_pa", "loss_grounding"}
    losses["loss_pa"].backward(retain_graph=True)
    assert editor.unet.conv_in.weight.grad[:, 4:].abs().sum() > 0
    train(editor)
    plain = images_of(editor)
    moved = [Layout(one.boxes * 0.5, one.names, one.attributes) for one in layouts()]
    eased = [one.with_attributes(["easy"] * len(one)) for one in layouts()]
    for other in (moved, eased):
        assert (images_of(editor, other) - plain).abs().max() > 1e-5
    encoded = editor.layout_tokenizer.encode(layouts())
    assert ("<l" in encoded.prompts[0]) == (condition == "both") and "ball" in encoded.prompts[0]


def test_the_empty_prompt_has_an_empty_blueprint(tmp_path):
    editor = build_editor(tmp_path, layout_condition="both", null_text_prob=1.0)
    seen = []
    editor.unet.register_forward_pre_hook(lambda module, args: seen.append(args[0][:, 4:]))
    losses_of(editor)
    assert not seen[0].any()
    images_of(editor, guidance_scale=2.0)
    null, drawn = seen[-1].chunk(2)
    assert not null.any() and torch.equal(drawn, editor.backbone.blueprint(layouts(), (8, 8)))


def test_without_attributes_none_are_drawn_or_needed(tmp_path):
    for attributes in (False, True):
        tokenizer = dict(bins=(4, 4), max_length=32, attributes=attributes)
        config = editor_config(tmp_path, layout_condition="blueprint", layout_tokenizer=tokenizer)
        editor = build_editor(tmp_path, layout_condition="blueprint", layout_tokenizer=tokenizer)
        assert type(editor).needs_attributes(config) == editor.backbone.blueprint.attributes == attributes
        assert not editor.layout_tokenizer.added["location"]
    group = dict(conditioning=dict(layout_condition="blueprint"), layout_tokenizer=dict(template="caption"))
    assert type(editor).needs_attributes(group)


def test_wrong_settings_are_one_message(tmp_path):
    with pytest.raises(UserError, match="layout_condition must be one of .*got 'boxes'"):
        build_editor(tmp_path, layout_condition="boxes")
    with pytest.raises(UserError, match="blueprint_shapes must be one of .*got 'circles'"):
        build_editor(tmp_path, layout_condition="both", blueprint_shapes="circles")
    with pytest.raises(UserError, match="'both' needs prompts with places: set .*template='compact'"):
        build_editor(tmp_path, layout_condition="both", layout_tokenizer=dict(template="caption"))
    unet = dict(editor_config(tmp_path)["unet"], in_channels=9)
    with pytest.raises(
        UserError, match="unet: UNet2DConditionModel takes 9 channels, it should take 4 .* or 12"
    ):
        build_editor(tmp_path, unet=unet, layout_condition="both")


@pytest.mark.parametrize("condition", ["blueprint", "both"])
def test_the_folder_says_how_layouts_are_conditions(tmp_path, condition):
    overrides = dict(layout_condition=condition, lora=dict(r=2))
    pytest.importorskip("peft")
    config = editor_config(tmp_path, **overrides)
    head = "default_scope = 'detdiffusion'\ncustom_imports = dict(imports=['detdiffusion.models'])\n"
    (tmp_path / "config.py").write_text(f"{head}model = {config!r}\n")
    editor = build_editor(tmp_path, **overrides)
    train(editor)
    torch.save(dict(state_dict=editor.state_dict(), meta={}), tmp_path / "weights.pth")
    again = DetDiffusionInferencer(str(tmp_path / "config.py"), tmp_path / "weights.pth", "cpu").model
    images = images_of(editor)
    assert torch.equal(images_of(again), images)
    export_diffusers(str(tmp_path / "config.py"), tmp_path / "weights.pth", tmp_path / "out")
    content = json.loads((tmp_path / "out/layout_config.json").read_text())
    assert content["layout_condition"] == condition and content["attributes"]
    kinds = dict(unet="UNet2DConditionModel", text_encoder="CLIPTextModel", tokenizer="CLIPTokenizer")
    kinds["vae"] = "AutoencoderKL"
    parts = {
        role: dict(type=kind, from_pretrained=str(tmp_path / "out"), subfolder=role)
        for role, kind in kinds.items()
    }
    for layout_tokenizer in (
        {},
        config["layout_tokenizer"],
    ):  # a config that says nothing, and the training's
        start = build_editor(tmp_path, layout_tokenizer=layout_tokenizer, **parts)
        torch.testing.assert_close(images_of(start), images, atol=1e-5, rtol=0)
        assert start.backbone.blueprint.attributes and not start.backbone.has_new_attributes
    for other in {"tokens", "blueprint"} - {condition}:
        with pytest.raises(
            UserError, match=f"layout_condition is '{other}' in the config, but .* '{condition}'"
        ):
            build_editor(tmp_path, layout_tokenizer={}, layout_condition=other, **parts)


def test_a_folder_with_tokens_can_get_a_blueprint(tmp_path):
    editor = build_editor(tmp_path)
    write_layout_config(tmp_path, editor.layout_tokenizer, **editor.backbone.stored_condition())
    given = dict(template="compact", bins=(4, 4))
    for condition in ("tokens", "blueprint", "both"):
        settled = settle_layout_config(dict(given, layout_condition=condition), tmp_path)
        assert settled["layout_condition"] == condition and settled["attributes"]
        assert settled["max_length"] == 32 and (settled.get("bins") == (4, 4)) == (condition != "blueprint")


def test_a_folder_with_a_blueprint_can_get_tokens(tmp_path):
    editor = build_editor(tmp_path, layout_condition="blueprint")
    write_layout_config(tmp_path, editor.layout_tokenizer, **editor.backbone.stored_condition())
    given = dict(template="compact", bins=(4, 4), attribute_position="first", layout_condition="both")
    settled = settle_layout_config(given, tmp_path)
    arguments, blueprint = read_condition(settled)
    assert (
        {**given, **settled} == settled and settled["max_length"] == 32 and arguments["template"] == "compact"
    )
    assert blueprint.shapes == "boxes" and blueprint.attributes and arguments["attributes"]
    with pytest.raises(UserError, match="blueprint_shapes is 'masks' in the config, but .* 'boxes'"):
        settle_layout_config(dict(given, blueprint_shapes="masks"), tmp_path)
    with pytest.raises(UserError, match="attributes is False in the config, but .* attribute tokens"):
        settle_layout_config(dict(given, attributes=False), tmp_path)


def test_a_folder_with_captions_gets_the_condition_that_the_config_names(tmp_path):
    """A condition with places has prompts with places, also where the config names no template."""
    (tmp_path / "layout_config.json").write_text(json.dumps(dict(template="caption", attributes=False)))
    templates = {}
    for condition in (None, "tokens", "both", "blueprint"):
        given = {} if condition is None else dict(layout_condition=condition)
        arguments, blueprint = read_condition(settle_layout_config(given, tmp_path))
        assert (blueprint is None) == (condition in (None, "tokens"))
        templates[condition] = arguments.get("template", "compact")
    assert templates == {None: "caption", "tokens": "compact", "both": "compact", "blueprint": "caption"}
