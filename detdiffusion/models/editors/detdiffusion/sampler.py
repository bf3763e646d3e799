"""The denoising loop: any diffusers scheduler, batched classifier-free guidance, one random generator per image."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.sampling_plan import check_interval, steps_from_real

from .latents import kept_cells
from .schedules import with_timesteps

if TYPE_CHECKING:
    from ..interface import RealImages
    from .backbones import Backbone, Prompts


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

    @classmethod
    def of(cls, backbone: Backbone, real: RealImages) -> Start:
        """Encode real images to the mean of the VAE's posterior."""
        latents = backbone.scaled(backbone.posterior(real.images.to(backbone.device))[0])
        keep = None if real.keep is None else kept_cells(real.keep.to(backbone.device), backbone.latent_scale)
        return cls(latents, real.strength, keep)

    def begin(self, scheduler: Any, count: int) -> int:
        """Return the index of the first timestep to run, as in diffusers' image-to-image pipelines.

        ``count`` is the number of denoising steps, which some schedulers do not hold after custom timesteps.
        """
        first = (count - steps_from_real(count, self.strength)) * getattr(scheduler, "order", 1)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        return first

    def noisy(self, scheduler: Any, noise: Tensor, t: Tensor | None) -> Tensor:
        """Return the latents with the noise of timestep ``t``; None: without noise."""
        if t is None:
            return self.latents
        if hasattr(scheduler, "add_noise"):
            return scheduler.add_noise(self.latents, noise, t.reshape(1))
        return scheduler.scale_noise(self.latents, t.reshape(1), noise)  # schedulers of flow matching

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
    schedule: str | None = None,
    guidance_interval: tuple[float, float] = (0.0, 1.0),
    guidance_rescale: float = 0.0,
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
        schedule: spacing of the timesteps, see :func:`.schedules.with_timesteps`; None: the scheduler's own.
        guidance_interval: part of the evaluations with guidance, see :func:`guided_evaluations`.
        guidance_rescale: see :func:`rescale_guided`.
        start: latents that are noised to ``start.strength`` and denoised; None starts from noise alone.

    Returns:
        (B, C, h, w) scaled latents.

    Raises:
        UserError: the scheduler generates noise that does not depend on ``generators``, or lacks the schedule; or the
            interval is not valid.
    """
    scheduler = with_timesteps(scheduler, num_inference_steps, schedule, noise_BCHW.device)
    timesteps, latents = scheduler.timesteps, noise_BCHW * getattr(scheduler, "init_noise_sigma", 1.0)
    scale = getattr(scheduler, "scale_model_input", lambda inputs, t: inputs)
    guided = guided_evaluations(len(timesteps), guidance_scale, guidance_interval)
    if start is not None:
        begin = start.begin(scheduler, num_inference_steps)
        timesteps, guided = timesteps[begin:], guided[begin:]
        latents = start.noisy(scheduler, noise_BCHW, timesteps[0] if len(timesteps) else None)
    both = prompts.after(null_prompts) if any(guided) else prompts
    extra = _step_arguments(scheduler, generators)
    for t, following, with_null in zip(timesteps, [*timesteps[1:], None], guided):
        model_input = torch.cat((latents, latents)) if with_null else latents
        prediction = predict(scale(model_input, t), t, both if with_null else prompts)
        if with_null:
            null, text = prediction.chunk(2)
            prediction = null + guidance_scale * (text - null)
            if guidance_rescale:
                prediction = rescale_guided(prediction.float(), text.float(), guidance_rescale)
        latents = scheduler.step(prediction.float(), t, latents, return_dict=False, **extra)[0]
        if start is not None:
            latents = start.restore(scheduler, latents, noise_BCHW, following)
    return latents


def guided_evaluations(
    count: int, guidance_scale: float, guidance_interval: tuple[float, float] = (0.0, 1.0)
) -> list[bool]:
    """Return for each evaluation of the network whether it is guided (Kynkäänniemi et al., NeurIPS 2024).

    As in diffusers' guiders, the interval is a part of the evaluations, from the noise to the image: evaluation k, from
    0, is guided if ``LO <= k / count < HI``. The others predict for the prompts only and take half of the work.

    Args:
        count: number of evaluations, the scheduler's timesteps.
        guidance_scale: with 1 or less none is guided.
        guidance_interval: LO and HI.

    Raises:
        UserError: not 0 <= LO < HI <= 1.
    """
    low, high = check_interval(guidance_interval)
    return [guidance_scale > 1 and low <= k / count < high for k in range(count)]


def rescale_guided(guided: Tensor, text: Tensor, share: float) -> Tensor:
    """Rescale a guided prediction to the standard deviation of the conditional one (Lin et al., WACV 2024, Eq. 15, 16).

    Args:
        guided, text: (B, C, h, w) guided and conditional predictions.
        share: weight of the rescaled prediction, in [0, 1]; the paper uses 0.7.
    """
    scale = text.std(dim=(1, 2, 3), keepdim=True) / guided.std(dim=(1, 2, 3), keepdim=True)
    return share * (guided * scale) + (1 - share) * guided


def count_evaluations(
    scheduler: Any,
    num_inference_steps: int = 50,
    guidance_scale: float = 3.5,
    schedule: str | None = None,
    guidance_interval: tuple[float, float] = (0.0, 1.0),
    guidance_rescale: float = 0.0,
) -> int:
    """Return how often :func:`denoise` evaluates the network for an image; a guided evaluation counts twice."""
    count = len(with_timesteps(scheduler, num_inference_steps, schedule).timesteps)
    return count + sum(guided_evaluations(count, guidance_scale, guidance_interval))


def reporting(predict: Callable[..., Tensor], on_step: Callable[[int], None]) -> Callable[..., Tensor]:
    """Return ``predict`` that reports itself.

    Args:
        predict: the denoising network of :func:`denoise`.
        on_step: called after every evaluation with their number so far, once per step for first-order schedulers; may
            raise to stop.
    """
    done = itertools.count(1)

    def reported(*inputs: Any) -> Tensor:
        prediction = predict(*inputs)
        on_step(next(done))
        return prediction

    return reported


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
