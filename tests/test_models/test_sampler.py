"""Drawing: the stock pipeline as oracle, and what an image may depend on."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from diffusers.schedulers import AysSchedules
from tiny_editor import build_editor, editor_config, layouts

from detdiffusion.models.editors.detdiffusion.sampler import initial_noise
from detdiffusion.models.editors.detdiffusion.schedules import ays_timesteps
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


def text_states(editor):
    """States of the two layouts' prompts and of the empty prompt."""
    tokenizer = editor.layout_tokenizer
    with torch.no_grad():
        prompt = editor.text_encoder(tokenizer.encode(layouts()).input_ids)[0]
        return prompt, editor.text_encoder(tokenizer.null_ids(2))[0]


def stock_images(
    editor, prompt_embeds, negative_prompt_embeds, seeds, guidance, steps=5, scheduler=None, **options
):
    """What diffusers' own pipeline draws from the same states and generators."""
    pipeline = StableDiffusionPipeline(
        vae=editor.vae,
        text_encoder=editor.text_encoder,
        tokenizer=editor.tokenizer,
        unet=editor.unet,
        scheduler=type(editor.test_scheduler).from_config(editor.test_scheduler.config, **(scheduler or {})),
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
        **options,
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
    expected = stock_images(editor, *text_states(editor), (1, 2), guidance)
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=0)
    again = editor.infer(layouts(), generators=generators(1, 2), **drawing)["samples"]
    assert torch.equal(images, again)  # the scheduler keeps nothing of the batch before


@pytest.mark.parametrize(
    ("scheduler", "ours", "stock"),
    [
        ("dpm", dict(schedule="trailing"), dict(scheduler=dict(timestep_spacing="trailing"))),
        ("ddim", dict(schedule="linspace"), dict(scheduler=dict(timestep_spacing="linspace"))),
        ("euler", dict(schedule="karras"), dict(scheduler=dict(use_karras_sigmas=True))),
        ("dpm", dict(schedule="exponential"), dict(scheduler=dict(use_exponential_sigmas=True))),
        ("euler", dict(schedule="ays"), dict(timesteps=AysSchedules["StableDiffusionTimesteps"])),
        ("dpm", dict(guidance_rescale=0.7), dict(guidance_rescale=0.7)),
    ],
    ids=["trailing", "linspace", "karras", "exponential", "ays", "rescale"],
)
def test_schedules_and_rescaled_guidance_are_the_stock_pipelines(tmp_path, scheduler, ours, stock):
    editor = editor_with(tmp_path, scheduler)
    steps = 10 if "timesteps" in stock else 5
    images = editor.infer(layouts(), num_inference_steps=steps, generators=generators(1, 2), **ours)[
        "samples"
    ]
    expected = stock_images(editor, *text_states(editor), (1, 2), 3.5, steps, **stock)
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=0)
    plain = editor.infer(layouts(), num_inference_steps=steps, generators=generators(1, 2))["samples"]
    assert (images - plain).abs().max() > 1e-5  # more than the tolerance


@pytest.mark.parametrize("scheduler", ["dpm", "euler"])
def test_guidance_in_an_interval(tmp_path, scheduler):
    """The stock pipeline, whose guidance is switched on after one of five steps and off after three."""
    editor = editor_with(tmp_path, scheduler)
    prompt, null = text_states(editor)
    rows, settings = [], dict(num_inference_steps=5, guidance_interval=(0.2, 0.6))
    hook = editor.unet.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    images = editor.infer(layouts(), generators=generators(1, 2), **settings)["samples"]
    hook.remove()
    assert rows == [2, 4, 4, 2, 2]
    assert sum(rows) == 2 * editor.evaluations(**settings) == 14

    def switch(pipeline, step, timestep, states):
        guided = 1 <= step + 1 < 3
        pipeline._guidance_scale = 3.5 if guided else 1.0
        return dict(prompt_embeds=torch.cat((null, prompt)) if guided else prompt)

    inputs = ["prompt_embeds"]
    expected = stock_images(
        editor,
        prompt,
        null,
        (1, 2),
        1.0,
        callback_on_step_end=switch,
        callback_on_step_end_tensor_inputs=inputs,
    )
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=0)


def test_the_whole_interval_changes_nothing(tmp_path):
    editor = editor_with(tmp_path)
    both = [
        editor.infer(layouts(), num_inference_steps=3, generators=generators(1, 2), **options)["samples"]
        for options in ({}, dict(schedule=None, guidance_interval=(0, 1), guidance_rescale=0.0))
    ]
    assert torch.equal(*both)
    assert [
        editor.evaluations(num_inference_steps=50),
        editor.evaluations(num_inference_steps=10, guidance_interval=(0.2, 0.8)),
        editor.evaluations(num_inference_steps=10, guidance_scale=1.0),
    ] == [100, 16, 10]


def test_align_your_steps():
    sd = DPMSolverMultistepScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    table = AysSchedules["StableDiffusionTimesteps"]
    assert ays_timesteps(sd, 10) == table
    twenty = ays_timesteps(sd, 20)
    assert twenty[::2] == table and sorted(twenty, reverse=True) == twenty
    levels = ((1 - sd.alphas_cumprod) / sd.alphas_cumprod).sqrt()
    middle = (levels[twenty[0]] * levels[twenty[2]]) ** 0.5  # log-linear: the geometric mean
    assert float(levels[twenty[1]]) == pytest.approx(float(middle), rel=5e-3)
    other = DPMSolverMultistepScheduler(beta_schedule="linear")  # other betas: timesteps of the same noise
    noise = ((1 - other.alphas_cumprod) / other.alphas_cumprod).sqrt()
    assert float(noise[ays_timesteps(other, 10)[5]]) == pytest.approx(float(levels[table[5]]), rel=5e-3)


@pytest.mark.parametrize(
    ("scheduler", "options", "message"),
    [
        (
            "ddim",
            dict(schedule="karras"),
            "'karras': DDIMScheduler has no such spacing.*leading, linspace, trailing",
        ),
        ("ddim", dict(schedule="ays"), "'ays' with 3 steps: DDIMScheduler cannot set it"),
        ("dpm", dict(schedule="ays", num_inference_steps=900), "timesteps are too few"),
        ("dpm", dict(guidance_interval=(0.8, 0.2)), "`guidance_interval` must be two numbers"),
    ],
)
def test_a_schedule_that_is_not_there(tmp_path, scheduler, options, message):
    with pytest.raises(UserError, match=message):
        editor_with(tmp_path, scheduler).infer(layouts(), **{"num_inference_steps": 3, **options})


def test_text_states_are_computed_once(tmp_path):
    editor, batches = editor_with(tmp_path), []
    editor.text_encoder.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))

    def images():
        return editor.infer(layouts(), num_inference_steps=1, generators=generators(1, 2))["samples"]

    first = images()
    assert batches == [2, 1] and torch.equal(images(), first) and batches == [2, 1]
    editor.infer(layouts()[:1], num_inference_steps=1)
    assert batches == [2, 1, 1]  # another batch of prompts; the empty one is known
    with torch.no_grad():
        editor.text_encoder.get_input_embeddings().weight.mul_(1.1)
    changed = images() if not editor.eval().training else None
    assert batches == [2, 1, 1, 2, 1] and not torch.equal(changed, first)
    editor.load_state_dict(editor.state_dict())
    assert torch.equal(images(), changed) and batches[5:] == [2, 1]
    editor.train()
    images(), images()
    assert batches[7:] == [2, 1] * 2 and editor.training  # weights may change between two validations


def test_images_are_decoded_in_slices(tmp_path, monkeypatch):
    editor, sizes = editor_with(tmp_path), []
    latents = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = editor.decode_latents(latents)
    editor.vae.decoder.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setattr("detdiffusion.models.editors.detdiffusion.latents.DECODED_PIXELS", 2 * 32 * 32 + 1)
    torch.testing.assert_close(editor.decode_latents(latents), whole, atol=1e-5, rtol=0)
    assert sizes == [2, 2, 1]


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
    editor.infer(layouts(), num_inference_steps=3, generators=generators(1, 2), on_step=steps.append)
    assert steps == [1, 2, 3]

    def stop(done):
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        editor.infer(layouts(), num_inference_steps=3, generators=generators(1, 2), on_step=stop)
    assert not editor.training
