"""GLIGEN and ControlNet at tiny size: stock diffusers pipelines from folders, behind our editor's interface."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_editor import build_editor, layouts
from tiny_generation import generate

from detdiffusion.models.editors.baselines import ControlNetEditor, GLIGENEditor, draw_layout
from detdiffusion.models.editors.interface import draw
from detdiffusion.structures import Layout
from detdiffusion.utils.colours import class_colour
from detdiffusion.utils.config import load_config
from detdiffusion.utils.errors import UserError

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "baselines"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of a GLIGEN, of a base and of its ControlNet, with random weights."""
    import diffusers

    root = tmp_path_factory.mktemp("baselines")
    plain = dict(
        layout_tokenizer=dict(template="caption", max_length=48), mask_head=None, perception_loss=None
    )
    parts = build_editor(root / "parts", **plain)
    parts.tokenizer.model_max_length = 48
    common = dict(vae=parts.vae, text_encoder=parts.text_encoder, tokenizer=parts.tokenizer)
    common.update(scheduler=diffusers.DDIMScheduler.from_config(parts.scheduler.config))
    common.update(safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    torch.manual_seed(1)
    settings = {k: v for k, v in parts.unet.config.items() if not k.startswith("_")}
    gated = diffusers.UNet2DConditionModel(**dict(settings, attention_type="gated"))
    with torch.no_grad():  # fresh gates are shut; open ones let the boxes through
        for name, parameter in gated.named_parameters():
            if "alpha_" in name:
                parameter.fill_(5.0)
    diffusers.StableDiffusionGLIGENPipeline(unet=gated, **common).save_pretrained(root / "gligen")
    diffusers.StableDiffusionPipeline(unet=parts.unet, **common).save_pretrained(root / "sd")
    net = diffusers.ControlNetModel.from_unet(parts.unet, conditioning_embedding_out_channels=(8, 16, 16))
    with torch.no_grad():  # zero convolutions say nothing before training
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    net.save_pretrained(root / "controlnet")
    return root


def generators(count):
    return [torch.Generator().manual_seed(i) for i in range(count)]


def noise(count):
    return torch.stack([torch.randn(4, 8, 8, generator=g) for g in generators(count)])


def test_gligen_is_the_stock_pipeline(folders):
    """Each image equals the pipeline's own, with the layout's boxes and names and our noise."""
    import diffusers

    editor = GLIGENEditor(str(folders / "gligen")).eval()
    batch = [layout.with_attributes(layout.attributes) for layout in layouts(masks=False)]
    drawn = editor.infer(batch, num_inference_steps=2, guidance_scale=3.0, generators=generators(2))
    pipeline = diffusers.StableDiffusionGLIGENPipeline.from_pretrained(
        folders / "gligen", safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    for i, layout in enumerate(batch):
        expected = pipeline(
            "An image with " + ", ".join(dict.fromkeys(layout.names)),
            gligen_phrases=layout.names,
            gligen_boxes=layout.boxes.tolist(),
            gligen_scheduled_sampling_beta=1.0,
            num_inference_steps=2,
            guidance_scale=3.0,
            latents=noise(2)[i : i + 1],
            output_type="np",
        ).images[0]
        np.testing.assert_allclose(drawn["samples"][i].permute(1, 2, 0).numpy(), expected, atol=1e-5)
    assert (
        drawn["kept"] == [[0, 1], [0, 1, 2]] and drawn["prompts"][1] == "An image with pine tree, ball, sky"
    )
    # another box, another image; other attributes, the same
    moved = Layout([[0.5, 0.2, 0.9, 0.6], [0.0, 0.0, 1.0, 0.4]], batch[0].names, ["hard"] * 2, image_id=7)
    same = Layout(batch[0].boxes, batch[0].names, ["hard"] * 2, image_id=7)
    twice = [*generators(1), *generators(1)]
    other = editor.infer([moved, same], num_inference_steps=2, guidance_scale=3.0, generators=twice)[
        "samples"
    ]
    assert (other[0] - drawn["samples"][0]).abs().max() > 1e-4
    assert (other[1] - drawn["samples"][0]).abs().max() < 1e-6


def test_gligen_takes_the_30_largest(folders):
    editor = GLIGENEditor(str(folders / "gligen"))
    sizes = np.r_[np.linspace(0.05, 0.4, 33)]
    crowded = Layout([[0, 0, s, s] for s in sizes], ["ball"] * 33)
    assert editor.choose(crowded) == list(range(3, 33))


def test_options_that_the_stock_pipeline_lacks_are_refused(folders):
    editor = GLIGENEditor(str(folders / "gligen")).eval()
    assert editor.evaluations(num_inference_steps=2, guidance_scale=3.0) == 4
    with pytest.raises(
        UserError, match="`guidance_interval`: the model GLIGENEditor does not have this option"
    ):
        draw(editor, layouts(masks=False), guidance_interval=(0.2, 0.8))


def test_controlnet_is_the_stock_pipeline(folders):
    import diffusers

    editor = ControlNetEditor(str(folders / "sd"), str(folders / "controlnet"), conditioning_scale=0.7)
    batch = layouts(masks=False)
    drawn = editor.infer(batch, 32, 32, num_inference_steps=2, guidance_scale=3.0, generators=generators(2))
    net = diffusers.ControlNetModel.from_pretrained(folders / "controlnet")
    pipeline = diffusers.StableDiffusionControlNetPipeline.from_pretrained(
        folders / "sd", controlnet=net, safety_checker=None
    )
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        ["An image with ball, sky", "An image with pine tree, ball, sky"],
        image=[draw_layout(layout, 32, 32) for layout in batch],
        controlnet_conditioning_scale=0.7,
        num_inference_steps=2,
        guidance_scale=3.0,
        latents=noise(2),
        output_type="np",
    ).images
    np.testing.assert_allclose(drawn["samples"].permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)
    blank = ControlNetEditor(str(folders / "sd"), str(folders / "controlnet"), conditioning_scale=0.0)
    plain = blank.infer(batch, 32, 32, num_inference_steps=2, guidance_scale=3.0, generators=generators(2))
    assert (plain["samples"] - drawn["samples"]).abs().max() > 1e-3


def test_the_drawing():
    """Small objects lie on large ones; a class keeps its colour wherever it is."""
    layout = Layout([[0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1]], ["ball", "sky"], category_ids=[4, 9])
    pixels = np.array(draw_layout(layout, 40, 80))
    assert pixels.shape == (40, 80, 3)
    assert tuple(pixels[20, 40]) == class_colour(4) and tuple(pixels[5, 5]) == class_colour(9)
    assert tuple(pixels[10, 20]) == (255, 255, 255) and tuple(pixels[10, 59]) == (255, 255, 255)
    assert tuple(pixels[10, 60]) == class_colour(9)


CONFIG = """
default_scope = "detdiffusion"
custom_imports = dict(imports=["detdiffusion.models", "detdiffusion.datasets"])
model = dict(type="{kind}", {options}, scheduler=dict(type="DPMSolverMultistepScheduler"))
layout_datasets = dict(train=dict(type="LayoutCocoDataset", ann_files="{root}/train/instances.json",
                                  img_dir="{root}/train/images", filter_cfg=dict(min_objects=1)))
"""


@pytest.mark.parametrize("kind", ["GLIGENEditor", "ControlNetEditor"])
def test_the_generation_tool_draws_with_it(folders, tmp_path, kind):
    """The same command as for ours, without a checkpoint; attributes are neither wanted nor taken."""
    from detdiffusion.datasets.miniscenes import write_miniscenes

    write_miniscenes(tmp_path, "train", 3, size=32)
    options = f'folder="{folders / "gligen"}"'
    if kind == "ControlNetEditor":
        options = f'folder="{folders / "sd"}", controlnet="{folders / "controlnet"}"'
    (tmp_path / "config.py").write_text(CONFIG.format(kind=kind, options=options, root=tmp_path))
    arguments = dict(
        config=str(tmp_path / "config.py"), checkpoint=None, steps=2, device="cpu", progress=False
    )
    counts = generate(out=tmp_path / "set", strategy="origin", **arguments)
    assert counts["written"] == 3 and counts["objects_not_prompted"] == 0
    data = json.loads((tmp_path / "set/annotations.json").read_text())
    source = json.loads((tmp_path / "train/instances.json").read_text())
    assert {a["source_annotation_id"] for a in data["annotations"]} <= {
        a["id"] for a in source["annotations"]
    }
    with Image.open(tmp_path / "set/images" / data["images"][0]["file_name"]) as image:
        assert image.size == (32, 32)
    with pytest.raises(UserError, match="does not use attributes; use 'origin'"):
        generate(out=tmp_path / "hard", strategy="hard", **arguments)


def test_errors(folders, tmp_path):
    editor = GLIGENEditor(str(folders / "gligen"))
    with pytest.raises(UserError, match="no folder 'nowhere'.*GLIGEN"):
        GLIGENEditor("nowhere")
    with pytest.raises(UserError, match="no gated attention"):
        GLIGENEditor(str(folders / "sd"))
    with pytest.raises(UserError, match="cannot load ControlNetModel"):
        ControlNetEditor(str(folders / "sd"), str(tmp_path))
    with pytest.raises(UserError, match="height and width must be divisible by 4, got 33 x 32"):
        editor.infer(layouts(masks=False), 33, 32)
    with pytest.raises(UserError, match="has no objects"):
        editor.infer([Layout(torch.zeros(0, 4), [], image_id=3)])
    with pytest.raises(UserError, match="supports mode='predict' only"):
        editor(torch.zeros(1, 3, 32, 32), mode="loss")
    with pytest.raises(UserError, match="{objects}"):
        GLIGENEditor(str(folders / "gligen"), caption="An image")


@pytest.mark.parametrize("name", ["gligen_coco.py", "controlnet_coco.py"])
def test_configs_build_from_folders(folders, name):
    from mmengine.registry import init_default_scope

    from detdiffusion.registry import MODELS

    init_default_scope("detdiffusion")
    options = dict(gligen_folder="gligen", sd_folder="sd", controlnet_folder="controlnet")
    text = (CONFIGS / name).read_text()
    model = load_config(
        str(CONFIGS / name), [f"{k}={folders / v}" for k, v in options.items() if f"{k} =" in text]
    )
    assert MODELS.build(model.model).latent_scale == 4 and "val" in model.layout_datasets


def test_weights_that_are_not_finite_or_overflow(folders, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    shutil.copytree(folders / "controlnet", tmp_path / "controlnet")
    file = tmp_path / "controlnet/diffusion_pytorch_model.safetensors"
    state = load_file(file)
    name = next(name for name in state if "mid_block" in name and name.endswith("weight"))
    for value, dtype in ((float("nan"), "fp32"), (1e6, "fp16")):
        state[name].view(-1)[0] = value
        save_file(state, file, metadata=dict(format="pt"))
        with pytest.raises(UserError, match=f"controlnet of .*/controlnet as {dtype}: 1 of .*{name}"):
            ControlNetEditor(str(folders / "sd"), str(tmp_path / "controlnet"), dtype=dtype)
    ControlNetEditor(str(folders / "sd"), str(tmp_path / "controlnet"), dtype="bf16")
