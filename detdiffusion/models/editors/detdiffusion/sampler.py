"""The denoising loop: any diffusers scheduler, batched classifier-free guidance, one noise generator an image."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from detdiffusion.utils.errors import UserError

if TYPE_CHECKING:
    from .backbones import Prompts


def initial_noise(shape: tuple[int, int, int], generators: Sequence[torch.Generator]) -> Tensor:
    """(B, C, h, w) float32 standard normal noise, image i from ``generators[i]`` alone (CPU generators)."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


@torch.no_grad()
def denoise(
    predict: Callable[[Tensor, Tensor, Prompts], Tensor],
    scheduler: Any,
    noise_BCHW: Tensor,
    prompts: Prompts,
    null_prompts: Prompts,
    num_inference_steps: int = 50,
    guidance_scale: float = 3.5,
    generators: Sequence[torch.Generator] | None = None,
) -> Tensor:
    """From noise to latents.

    Args:
        predict: the denoising network, :meth:`.backbones.Backbone.predict`.
        scheduler: a diffusers scheduler; its state is reset by ``set_timesteps``.
        noise_BCHW: standard normal noise.
        prompts, null_prompts: the encoded prompts and, as often, the empty prompt.
        num_inference_steps: denoising steps.
        guidance_scale: classifier-free guidance; 1 or less leaves the empty prompt out.
        generators: B CPU generators, from which a stochastic scheduler (DDPM, Euler ancestral, ...) draws the noise
            of image i at every step; None: torch's global state.

    Returns:
        (B, C, h, w) latents, scaled as the network sees them.

    Raises:
        UserError: a scheduler that makes noise of its own, which no generator reaches.
    """
    scheduler.set_timesteps(num_inference_steps, device=noise_BCHW.device)
    latents = noise_BCHW * scheduler.init_noise_sigma
    guided = guidance_scale > 1
    conditions = prompts.after(null_prompts) if guided else prompts
    extra = _step_arguments(scheduler, generators)
    for t in scheduler.timesteps:
        model_input = torch.cat((latents, latents)) if guided else latents
        prediction = predict(scheduler.scale_model_input(model_input, t), t, conditions)
        if guided:
            null, text = prediction.chunk(2)
            prediction = null + guidance_scale * (text - null)
        latents = scheduler.step(prediction.float(), t, latents, return_dict=False, **extra)[0]
    return latents


def _step_arguments(scheduler, generators: Sequence[torch.Generator] | None) -> dict:
    """``generator`` for the schedulers whose ``step`` takes one; the others draw nothing."""
    if generators is None:
        return {}
    if hasattr(
        scheduler, "noise_sampler"
    ):  # DPMSolverSDE, CosineDPMSolver: Brownian motion with a seed for all
        raise UserError(
            f"test_scheduler {type(scheduler).__name__} draws one noise for the whole batch, so an image would depend "
            "on its batch mates; take EulerAncestralDiscreteScheduler, or DPMSolverMultistepScheduler with "
            "algorithm_type='sde-dpmsolver++'"
        )
    takes_it = "generator" in inspect.signature(scheduler.step).parameters
    return dict(generator=list(generators)) if takes_it else {}
