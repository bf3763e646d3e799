"""The denoising loop: any diffusers scheduler, batched classifier-free guidance, one random generator per image."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from detdiffusion.utils.errors import UserError

if TYPE_CHECKING:
    from .backbones import Prompts


def initial_noise(shape: tuple[int, int, int], generators: Sequence[torch.Generator]) -> Tensor:
    """Return (B, C, h, w) float32 standard normal noise, for image i from ``generators[i]`` (CPU generators)."""
    return torch.stack([torch.randn(shape, generator=generator) for generator in generators])


@dataclass(frozen=True)
class Start:
    """Clean latents that denoising starts from.

    Attributes:
        latents: (B, C, h, w) scaled latents.
        strength: share of the denoising steps that are run, in [0, 1].
        keep: (B, 1, h, w) float32, 1 where the latents stay; None changes all.
    """

    latents: Tensor
    strength: float
    keep: Tensor | None = None

    def begin(self, scheduler: Any) -> int:
        """Return the index of the first timestep to run, as in diffusers' image-to-image pipelines."""
        count = scheduler.num_inference_steps
        first = (count - min(int(count * self.strength), count)) * getattr(scheduler, "order", 1)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        return first

    def noisy(self, scheduler: Any, noise: Tensor, t: Tensor | None) -> Tensor:
        """Return the latents with the noise of timestep ``t``; None: without noise."""
        return self.latents if t is None else scheduler.add_noise(self.latents, noise, t.reshape(1))

    def restore(self, scheduler: Any, latents: Tensor, noise: Tensor, t: Tensor | None) -> Tensor:
        """Return ``latents`` at timestep ``t`` with what is kept restored."""
        if self.keep is None:
            return latents
        return self.keep * self.noisy(scheduler, noise, t) + (1 - self.keep) * latents


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
    start: Start | None = None,
) -> Tensor:
    """Denoise noise to latents.

    Args:
        predict: the denoising network, :meth:`.backbones.Backbone.predict`.
        scheduler: a diffusers scheduler; its state is reset by ``set_timesteps``.
        noise_BCHW: standard normal noise.
        prompts, null_prompts: B encoded prompts and the empty prompt, repeated B times.
        num_inference_steps: number of denoising steps.
        guidance_scale: scale of classifier-free guidance; with 1 or less the empty prompt is not used.
        generators: B CPU generators; a stochastic scheduler (DDPM, Euler ancestral, ...) takes the noise of image i
            from generator i in every step; None: torch's global random state.
        start: latents that are noised to ``start.strength`` and denoised; None starts from noise alone.

    Returns:
        (B, C, h, w) scaled latents.

    Raises:
        UserError: the scheduler generates noise that does not depend on ``generators``.
    """
    scheduler.set_timesteps(num_inference_steps, device=noise_BCHW.device)
    timesteps, latents = scheduler.timesteps, noise_BCHW * scheduler.init_noise_sigma
    if start is not None:
        timesteps = timesteps[start.begin(scheduler) :]
        latents = start.noisy(scheduler, noise_BCHW, timesteps[0] if len(timesteps) else None)
    guided = guidance_scale > 1
    conditions = prompts.after(null_prompts) if guided else prompts
    extra = _step_arguments(scheduler, generators)
    for t, following in zip(timesteps, [*timesteps[1:], None]):
        model_input = torch.cat((latents, latents)) if guided else latents
        prediction = predict(scheduler.scale_model_input(model_input, t), t, conditions)
        if guided:
            null, text = prediction.chunk(2)
            prediction = null + guidance_scale * (text - null)
        latents = scheduler.step(prediction.float(), t, latents, return_dict=False, **extra)[0]
        if start is not None:
            latents = start.restore(scheduler, latents, noise_BCHW, following)
    return latents


def _step_arguments(scheduler, generators: Sequence[torch.Generator] | None) -> dict:
    """Return the ``generator`` argument for schedulers whose ``step`` takes one; others use no random numbers."""
    if generators is None:
        return {}
    if hasattr(
        scheduler, "noise_sampler"
    ):  # DPMSolverSDE, CosineDPMSolver: Brownian motion with a seed for all
        raise UserError(
            f"test_scheduler {type(scheduler).__name__} draws one noise for the whole batch, so an image would depend "
            "on the other images of its batch; use EulerAncestralDiscreteScheduler, or DPMSolverMultistepScheduler "
            "with algorithm_type='sde-dpmsolver++'"
        )
    takes_it = "generator" in inspect.signature(scheduler.step).parameters
    return dict(generator=list(generators)) if takes_it else {}
