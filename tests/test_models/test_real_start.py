"""Generation that starts from real images: diffusers' image-to-image pipeline as oracle, and what is kept."""

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from test_sampler import editor_with, generators
from tiny_editor import layouts

from detdiffusion.models.editors.detdiffusion.latents import kept_cells
from detdiffusion.models.editors.interface import RealImages, draw
from detdiffusion.utils.errors import UserError

SIDE = 32


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="module")
def editor(tmp_path_factory):
    return editor_with(tmp_path_factory.mktemp("tokenizer"))


def infer(editor, real, steps=5, **options):
    options = dict(generators=generators(3, 4), num_inference_steps=steps, **options)
    return editor.infer(layouts()[:2], SIDE, SIDE, real=real, **options)["samples"]


@pytest.mark.parametrize(
    ("scheduler", "strength"), [("dpm", 0.6), ("ddim", 0.4), ("heun", 0.8), ("ancestral", 1.0)]
)
def test_equal_to_diffusers_image_to_image(tmp_path, pictures, scheduler, strength):
    editor = editor_with(tmp_path, scheduler)
    encoded = editor.layout_tokenizer.encode(layouts()[:2])
    with torch.no_grad():
        states = editor.backbone.encode_layouts(encoded).states
        null = editor.backbone.encode(editor.layout_tokenizer.null_ids(2)).states
        latents = editor.vae.encode(pictures).latent_dist.mode() * editor.vae.config.scaling_factor
    pipeline = StableDiffusionImg2ImgPipeline(
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
    expected = pipeline(
        image=latents,
        prompt_embeds=states,
        negative_prompt_embeds=null,
        strength=strength,
        num_inference_steps=5,
        guidance_scale=3.5,
        generator=generators(3, 4),
        output_type="pt",
    ).images
    drawn = infer(editor, RealImages(pictures, strength))
    torch.testing.assert_close(drawn, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scheduler", ["ddpm", "dpm"])
def test_custom_timesteps(tmp_path, pictures, scheduler):
    """Half of ten steps are run; DDPM forgets the number of steps when it is given timesteps."""
    editor, done = editor_with(tmp_path, scheduler), []
    infer(editor, RealImages(pictures, 0.5), 10, schedule="ays", on_step=done.append)
    assert done == [1, 2, 3, 4, 5]


def test_strength_0_is_the_autoencoders_round_trip(editor, pictures):
    with torch.no_grad():
        latents = editor.vae.encode(pictures).latent_dist.mode()
        expected = (editor.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(infer(editor, RealImages(pictures, 0.0)), expected, atol=1e-5, rtol=0)


def test_kept_pixels_are_those_of_the_photograph(editor, pictures):
    keep = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.bool)
    keep[:, :, :13] = True
    drawn = infer(editor, RealImages(pictures, 0.8, keep))
    torch.testing.assert_close(drawn[:, :, :13], pictures[:, :, :13] / 2 + 0.5, atol=0, rtol=0)
    free = infer(editor, RealImages(pictures, 0.8))
    assert not torch.equal(drawn[:, :, 13:], free[:, :, 13:])  # they are drawn to fit what is kept
    everything = infer(editor, RealImages(pictures, 0.8, torch.ones_like(keep)))
    torch.testing.assert_close(everything, pictures / 2 + 0.5, atol=0, rtol=0)


def test_a_cell_is_kept_only_if_all_its_pixels_are():
    keep = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    keep[0, 0, 5, 2] = False
    assert kept_cells(keep, 4).tolist() == [[[[1, 1], [0, 1]]]]


def test_an_image_depends_on_its_own_real_image_only(editor, pictures):
    both = infer(editor, RealImages(pictures, 0.6))
    other = infer(editor, RealImages(torch.stack((pictures[0], -pictures[1])), 0.6))
    torch.testing.assert_close(both[0], other[0], atol=1e-6, rtol=0)
    assert not torch.allclose(both[1], other[1])


def test_bad_values(editor, pictures):
    with pytest.raises(UserError, match="strength"):
        RealImages(pictures, 1.2)
    with pytest.raises(UserError, match="keep"):
        RealImages(pictures, 1.0, torch.ones(2, SIDE, SIDE, dtype=torch.bool))
    with pytest.raises(UserError, match=r"real\.images.*\(2, 3, 32, 32\)"):
        infer(editor, RealImages(pictures[:, :, :16], 0.5))

    class Other:
        def infer(self, layouts, height=None, width=None):
            raise AssertionError

    with pytest.raises(UserError, match="Other cannot start from real images"):
        draw(Other(), layouts()[:1], real=RealImages(pictures[:1], 0.5))
