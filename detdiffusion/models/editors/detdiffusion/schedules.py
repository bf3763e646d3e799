"""Timesteps of sampling: a scheduler's own spacings by name, and Align Your Steps."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch

from detdiffusion.utils.errors import UserError, first_line
from detdiffusion.utils.sampling_plan import SCHEDULES

from .single_file_configs import SD1_CONFIGS

_SIGMAS = ("karras", "exponential", "beta")
_SIGMA_FLAGS = (*(f"use_{name}_sigmas" for name in _SIGMAS), "use_lu_lambdas")
_SPACING = "timestep_spacing"


def with_timesteps(
    scheduler: Any, steps: int, schedule: str | None = None, device: torch.device | None = None
) -> Any:
    """Return a diffusers scheduler whose timesteps are set.

    Args:
        scheduler: the scheduler; returned itself if ``schedule`` is None.
        steps: number of denoising steps.
        schedule: ``leading``, ``linspace`` or ``trailing``, the scheduler's ``timestep_spacing``; ``karras``,
            ``exponential`` or ``beta``, its ``use_*_sigmas``; ``ays``, see :func:`ays_timesteps`; None: as configured.
        device: device of the timesteps.

    Raises:
        UserError: the scheduler lacks the schedule, or cannot set this number of steps.
    """
    if schedule is None:
        scheduler.set_timesteps(steps, device=device)
        return scheduler
    config, kind = scheduler.config, type(scheduler).__name__
    options = {flag: False for flag in _SIGMA_FLAGS if config.get(flag)}
    arguments: dict = dict(num_inference_steps=steps)
    if schedule in _SIGMAS and f"use_{schedule}_sigmas" in config:
        options[f"use_{schedule}_sigmas"] = True
    elif schedule in ("leading", "linspace", "trailing") and _SPACING in config:
        options[_SPACING] = schedule
    elif schedule == "ays":
        arguments = dict(timesteps=ays_timesteps(scheduler, steps))
    else:
        raise UserError(
            f"schedule {schedule!r}: {kind} has no such spacing; it has: {', '.join(available(scheduler))}"
        )
    scheduler = type(scheduler).from_config(config, **options)
    try:
        scheduler.set_timesteps(**arguments, device=device)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"schedule {schedule!r} with {steps} steps: {kind} cannot set it: {first_line(error)}"
        ) from error
    return scheduler


def available(scheduler: Any) -> list[str]:
    """Return the schedules that a scheduler has."""
    config, arguments = scheduler.config, inspect.signature(scheduler.set_timesteps).parameters
    has = {name: _SPACING in config for name in SCHEDULES}
    has.update({name: f"use_{name}_sigmas" in config for name in _SIGMAS}, ays="timesteps" in arguments)
    return [name for name in SCHEDULES if has[name]]


def ays_timesteps(scheduler: Any, steps: int) -> list[int]:
    """Return the timesteps of Align Your Steps (Sabour et al., 2024) for Stable Diffusion 1.5, from diffusers' table.

    The table has ten steps. For another number the authors interpolate the noise levels log-linearly, and the schedule
    ends at the lowest level, timestep 0. A level becomes the timestep of the model at which its noise is the nearest;
    with Stable Diffusion's betas and ten steps these are the timesteps of the table.

    Args:
        scheduler: a scheduler with ``alphas_cumprod``.
        steps: number of timesteps.

    Raises:
        UserError: the scheduler is of another family, or two of the timesteps are equal.
    """
    from diffusers.schedulers import AysSchedules

    if not hasattr(scheduler, "alphas_cumprod"):
        raise UserError(f"schedule 'ays': {type(scheduler).__name__} has no timesteps of a diffusion process")
    table = [*AysSchedules["StableDiffusionTimesteps"], 0]
    levels = np.interp(np.linspace(0, 1, steps + 1), np.linspace(0, 1, len(table)), _sd1_levels()[table])
    own = np.log(_sigmas(scheduler.alphas_cumprod.double().cpu().numpy()))
    timesteps = np.interp(levels[:-1], own, np.arange(len(own))).round().astype(int).tolist()
    if len(set(timesteps)) < steps:
        raise UserError(
            f"schedule 'ays' with {steps} steps: the model's {len(own)} timesteps are too few, two of them would be "
            "equal; use fewer steps or another schedule"
        )
    return timesteps


def _sd1_levels() -> np.ndarray:
    """Return the logarithms of the noise levels of Stable Diffusion 1.x, by timestep."""
    config = SD1_CONFIGS["scheduler"]
    count, ends = config["num_train_timesteps"], (config["beta_start"], config["beta_end"])
    betas = np.linspace(*np.sqrt(ends), count) ** 2
    return np.log(_sigmas(np.cumprod(1 - betas)))


def _sigmas(alphas_cumprod: np.ndarray) -> np.ndarray:
    return np.sqrt((1 - alphas_cumprod) / alphas_cumprod)
