"""The editor: its sampler against the stock pipeline, its losses, its determinism."""

import copy

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from mmengine.structures import BaseDataElement
from tiny_editor import build_editor, layouts

from detdiffusion.models.editors.detdiffusion.sampler import initial_noise
from detdiffusion.utils.errors import UserError


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def batch(with_masks=True):
    torch.manual_seed(5)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    samples = []
    for layout in layouts(with_masks):
        sample = BaseDataElement(metainfo=dict(img_path=f"{layout.image_id}.png", flip=False))
        sample.set_data(dict(layout=layout))
        samples.append(sample)
    return dict(inputs=list(images), data_samples=samples)


@pytest.mark.parametrize("guidance", [3.5, 1.0])
def test_sampler_equals_the_stock_pipeline(tmp_path, guidance):
    editor = build_editor(tmp_path).eval()
    result = editor.infer(
        layouts(), num_inference_steps=5, guidance_scale=guidance, generators=generators(1, 2)
    )
    pipeline = StableDiffusionPipeline(
        vae=editor.vae,
        text_encoder=editor.text_encoder,
        tokenizer=editor.tokenizer,
        unet=editor.unet,
        scheduler=DPMSolverMultistepScheduler.from_config(editor.scheduler.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    tokenizer = editor.layout_tokenizer
    with torch.no_grad():
        prompt = editor.text_encoder(tokenizer.encode(layouts()).input_ids)[0]
        null = editor.text_encoder(tokenizer.null_ids(2))[0]
    expected = pipeline(
        prompt_embeds=prompt,
        negative_prompt_embeds=null,
        latents=initial_noise((4, 8, 8), generators(1, 2)),
        num_inference_steps=5,
        guidance_scale=guidance,
        height=32,
        width=32,
        output_type="pt",
    ).images
    torch.testing.assert_close(result["samples"], expected, atol=1e-5, rtol=0)


def test_an_image_depends_on_its_own_generator_only(tmp_path):
    editor = build_editor(tmp_path).eval()
    both = editor.infer(layouts(), num_inference_steps=4, generators=generators(1, 2))["samples"]
    swapped = editor.infer(layouts()[::-1], num_inference_steps=4, generators=generators(2, 1))["samples"]
    alone = editor.infer(layouts()[:1], num_inference_steps=4, generators=generators(1))["samples"]
    torch.testing.assert_close(swapped.flip(0), both, atol=1 / 255, rtol=0)
    torch.testing.assert_close(alone, both[:1], atol=1 / 255, rtol=0)


def test_attributes_change_the_image_and_the_prompt(tmp_path):
    editor = build_editor(tmp_path).eval()
    easy = layouts()[0]
    hard = easy.with_attributes(["hard", "background"])
    result = editor.infer([easy, hard], num_inference_steps=4, generators=generators(1, 1))
    assert "[easy]" in result["prompts"][0] and "[hard]" in result["prompts"][1]
    assert (result["samples"][0] - result["samples"][1]).abs().max() > 0


def test_a_training_step_moves_everything_but_the_vae(tmp_path):
    editor = build_editor(tmp_path).train()
    data = editor.data_preprocessor(batch(), True)
    assert data["inputs"].min() >= -1 and data["inputs"].max() <= 1
    torch.manual_seed(0)
    losses = editor(**data, mode="loss")
    assert set(losses) == {"loss_ldm", "loss_pa"}
    sum(losses.values()).backward()
    assert all(parameter.grad is None for parameter in editor.vae.parameters())
    for part in (editor.unet, editor.text_encoder, editor.mask_head):
        touched = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in part.parameters()]
        assert sum(touched) > 0.7 * len(touched)
    attributes = editor.text_encoder.get_input_embeddings().weight.grad[
        editor.tokenizer.convert_tokens_to_ids("[easy]")
    ]
    assert attributes.abs().sum() > 0


def test_geodiffusion_is_the_same_code_without_attributes_and_head(tmp_path):
    editor = build_editor(
        tmp_path,
        layout_tokenizer=dict(bins=(4, 4), max_length=32, attributes=False),
        mask_head=None,
        perception_loss=None,
    )
    torch.manual_seed(0)
    losses = editor(**editor.data_preprocessor(batch(), True), mode="loss")
    assert set(losses) == {"loss_ldm"}
    assert "[easy]" not in editor.tokenizer.get_vocab()


def test_masks_fall_back_to_boxes(tmp_path):
    editor = build_editor(tmp_path)
    torch.manual_seed(0)
    losses = editor(**editor.data_preprocessor(batch(with_masks=False), True), mode="loss")
    assert torch.isfinite(losses["loss_pa"])


def test_attribute_tokens_start_from_their_words(tmp_path):
    editor = build_editor(tmp_path)
    weight = editor.text_encoder.get_input_embeddings().weight
    ids = editor.tokenizer.convert_tokens_to_ids
    assert torch.equal(weight[ids("[hard]")], weight[ids("hard</w>")])
    assert weight[ids("<l0>")].abs().max() == 1  # cos(0) of the sine-cosine grid


def test_it_can_be_copied_for_averaging(tmp_path):
    editor = build_editor(tmp_path)
    data = editor.data_preprocessor(batch(), True)
    clone = copy.deepcopy(editor)
    values = []
    for model in (editor, clone):
        torch.manual_seed(0)
        values.append(model(**data, mode="loss")["loss_pa"].item())
    assert values[0] == values[1]


def test_a_missing_folder_says_what_belongs_there(tmp_path):
    with pytest.raises(UserError, match="unet: no folder .*it should be a diffusers folder"):
        build_editor(
            tmp_path,
            unet=dict(type="UNet2DConditionModel", from_pretrained="/nowhere/sd15", subfolder="unet"),
        )
