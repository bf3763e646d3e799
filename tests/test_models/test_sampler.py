"""Drawing: the stock pipeline as oracle, and what an image may depend on."""

import pytest
import torch
from diffusers import StableDiffusionPipeline
from tiny_editor import build_editor, editor_config, layouts

from detdiffusion.models.editors.detdiffusion.sampler import initial_noise
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

SCHEDULERS = dict(
    dpm=dict(type="DPMSolverMultistepScheduler"),
    ddim=dict(type="DDIMScheduler"),
    euler=dict(type="EulerDiscreteScheduler"),
    heun=dict(type="HeunDiscreteScheduler"),
    pndm=dict(type="PNDMScheduler"),
    unipc=dict(type="UniPCMultistepScheduler"),
    ddpm=dict(type="DDPMScheduler"),
    ancestral=dict(type="EulerAncestralDiscreteScheduler"),
    sde=dict(type="DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++"),
)
STOCHASTIC = ["ddpm", "ancestral", "sde"]


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def editor_with(folder, scheduler="dpm", prediction="epsilon", **overrides):
    training = dict(editor_config(folder)["scheduler"], prediction_type=prediction)
    return build_editor(folder, scheduler=training, test_scheduler=SCHEDULERS[scheduler], **overrides).eval()


def stock_images(editor, prompt_embeds, negative_prompt_embeds, seeds, guidance, steps=5):
    """What diffusers' own pipeline draws from the same states and generators."""
    pipeline = StableDiffusionPipeline(
        vae=editor.vae,
        text_encoder=editor.text_encoder,
        tokenizer=editor.tokenizer,
        unet=editor.unet,
        scheduler=type(editor.test_scheduler).from_config(editor.test_scheduler.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    noise = generators(*seeds)
    return pipeline(
        prompt_embeds=prompt_embeds,
        negative_prompt_embeds=negative_prompt_embeds,
        latents=initial_noise((4, 8, 8), noise),
        generator=noise,
        num_inference_steps=steps,
        guidance_scale=guidance,
        height=32,
        width=32,
        output_type="pt",
    ).images


@pytest.mark.parametrize(
    ("scheduler", "prediction", "guidance"),
    [(name, "epsilon", 3.5) for name in SCHEDULERS]
    + [("dpm", "v_prediction", 3.5), ("ddim", "v_prediction", 3.5), ("dpm", "epsilon", 1.0)],
)
def test_it_equals_the_stock_pipeline(tmp_path, scheduler, prediction, guidance):
    editor = editor_with(tmp_path, scheduler, prediction)
    assert editor.test_scheduler.config.prediction_type == prediction
    drawing = dict(num_inference_steps=5, guidance_scale=guidance)
    images = editor.infer(layouts(), generators=generators(1, 2), **drawing)["samples"]
    tokenizer = editor.layout_tokenizer
    with torch.no_grad():
        prompt = editor.text_encoder(tokenizer.encode(layouts()).input_ids)[0]
        null = editor.text_encoder(tokenizer.null_ids(2))[0]
    expected = stock_images(editor, prompt, null, (1, 2), guidance)
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=0)
    again = editor.infer(layouts(), generators=generators(1, 2), **drawing)["samples"]
    assert torch.equal(images, again)  # the scheduler keeps nothing of the batch before


@pytest.mark.parametrize("scheduler", ["dpm", *STOCHASTIC])
def test_an_image_depends_on_its_own_generator_only(tmp_path, scheduler):
    editor = editor_with(tmp_path, scheduler)
    both = editor.infer(layouts(), num_inference_steps=4, generators=generators(1, 2))["samples"]
    swapped = editor.infer(layouts()[::-1], num_inference_steps=4, generators=generators(2, 1))["samples"]
    alone = editor.infer(layouts()[0], num_inference_steps=4, generators=generators(1))["samples"]
    torch.testing.assert_close(swapped.flip(0), both, atol=1 / 255, rtol=0)
    torch.testing.assert_close(alone, both[:1], atol=1 / 255, rtol=0)
    other = editor.infer(layouts()[0], num_inference_steps=4, generators=generators(3))["samples"]
    assert (other - alone).abs().max() > 1 / 255


def test_a_scheduler_with_one_noise_for_all_is_refused(tmp_path):
    pytest.importorskip("torchsde")
    editor = build_editor(tmp_path, test_scheduler=dict(type="DPMSolverSDEScheduler"))
    with pytest.raises(UserError, match="DPMSolverSDEScheduler draws one noise for the whole batch"):
        editor.infer(layouts(), num_inference_steps=2)


def test_chunks_are_drawn_as_one_long_prompt(tmp_path):
    """36 objects beside 2: the stock pipeline on the concatenated windows, and alone as in company."""
    editor = editor_with(tmp_path, layout_tokenizer=dict(bins=(4, 4), max_length=32, overflow="chunk"))
    corner = torch.rand(36, 2, generator=torch.Generator().manual_seed(0)) * 0.5
    many = Layout(torch.cat((corner, corner + 0.5), dim=1), ["ball"] * 36, ["hard"] * 36)
    few = layouts()[0]
    result = editor.infer([many, few], num_inference_steps=4, generators=generators(1, 2))
    assert [len(kept) for kept in result["kept"]] == [36, 2]
    assert [prompt.count("ball") for prompt in result["prompts"]] == [36, 1]
    assert [prompt.count("An image with") for prompt in result["prompts"]] == [6, 1]
    tokenizer = editor.layout_tokenizer
    assert dict(tokenizer.windows) == {6: 1, 1: 1}
    with torch.no_grad():
        windows = editor.text_encoder(tokenizer.encode([many]).input_ids.reshape(6, 32))[0]
        null = editor.text_encoder(tokenizer.null_ids(6))[0]
    long = (windows.reshape(1, 192, 16), null.reshape(1, 192, 16))
    expected = stock_images(editor, *long, seeds=(1,), guidance=3.5, steps=4)
    torch.testing.assert_close(result["samples"][:1], expected, atol=1e-5, rtol=0)
    alone = editor.infer(few, num_inference_steps=4, generators=generators(2))["samples"]
    torch.testing.assert_close(result["samples"][1:], alone, atol=1 / 255, rtol=0)


def test_bad_requests_are_one_message(tmp_path):
    editor = editor_with(tmp_path)
    with pytest.raises(UserError, match="layouts is empty"):
        editor.infer([])
    with pytest.raises(UserError, match="2 layouts need 2 generators, got 1"):
        editor.infer(layouts(), generators=generators(1))
    with pytest.raises(UserError, match="height and width must be divisible by 4, got 30 x 32"):
        editor.infer(layouts(), height=30, width=32)


def test_steps_are_reported_and_can_be_stopped(tmp_path):
    editor, steps = editor_with(tmp_path), []
    editor.infer(
        layouts(), num_inference_steps=3, generators=generators(1, 2), on_step=lambda *s: steps.append(s)
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]

    def stop(done, of):
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        editor.infer(layouts(), num_inference_steps=3, generators=generators(1, 2), on_step=stop)
    assert not editor.training
