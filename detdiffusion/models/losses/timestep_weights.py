"""Loss weights by noise level, and the prediction target."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from detdiffusion.utils.errors import UserError

PREDICTION_TYPES = ("epsilon", "v_prediction")


def prediction_type(scheduler: Any) -> str:
    """Return the scheduler's prediction type.

    Raises:
        UserError: the type is neither ``'epsilon'`` nor ``'v_prediction'``.
    """
    kind = scheduler.config.prediction_type
    if kind not in PREDICTION_TYPES:
        raise UserError(
            f"noise loss: the scheduler's prediction_type is {kind!r}; supported: {PREDICTION_TYPES}; "
            "change the training scheduler's config"
        )
    return kind


def sqrt_alpha_bar(scheduler: Any, timesteps: Tensor) -> Tensor:
    """Return the factor sqrt(alpha_bar_t) of the paper's Eq. 4.

    Args:
        scheduler: a diffusers scheduler with ``alphas_cumprod``.
        timesteps: (B,) int64.

    Returns:
        (B,) float32 in [0, 1], on the timesteps' device.
    """
    return scheduler.alphas_cumprod.to(timesteps.device)[timesteps.long()].float().sqrt()


def min_snr_weights(scheduler: Any, timesteps: Tensor, gamma: float) -> Tensor:
    """Return min-SNR weights (https://arxiv.org/abs/2303.09556).

    These are min(SNR, gamma) / SNR for epsilon prediction and min(SNR, gamma) / (SNR + 1) for v-prediction.

    Args:
        scheduler: a diffusers scheduler with ``alphas_cumprod`` and ``config.prediction_type``.
        timesteps: (B,) int64.
        gamma: cap, > 0; 5 in that paper.

    Returns:
        (B,) float32 in [0, 1], on the timesteps' device. At zero terminal SNR they have their limits, 1 for
        epsilon and 0 for v-prediction.
    """
    from diffusers.training_utils import compute_snr  # a slow import that only this option needs

    snr = compute_snr(scheduler, timesteps)
    if prediction_type(scheduler) == "v_prediction":
        return snr.clamp(max=gamma) / (snr + 1)
    return torch.where(snr > gamma, gamma / snr.clamp(min=gamma), torch.ones_like(snr))


def debiased_weights(scheduler: Any, timesteps: Tensor) -> Tensor:
    """Return the weights of the debiased estimation loss (https://arxiv.org/abs/2310.08442), 1 / sqrt(SNR).

    The error of the clean latents is then weighted by sqrt(SNR) instead of SNR, so high noise levels, which determine
    the position and contrast of objects, count more. For v-prediction the equivalent weight is sqrt(SNR) / (SNR + 1).

    Args:
        scheduler: a diffusers scheduler with ``alphas_cumprod`` and ``config.prediction_type``.
        timesteps: (B,) int64.

    Returns:
        (B,) float32, on the timesteps' device; 1 / sqrt(SNR) is capped at 20 (zero terminal SNR), and the mean over
        all time steps is 1, so that other losses keep their share.
    """
    alpha_bar = scheduler.alphas_cumprod.to(timesteps.device).double()
    snr = (alpha_bar / (1 - alpha_bar)).clamp(min=1 / 400)
    weights = snr.rsqrt()
    if prediction_type(scheduler) == "v_prediction":
        weights = snr.sqrt() / (snr + 1)
    return (weights / weights.mean())[timesteps.long()].float()


def noise_target(scheduler: Any, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Return the target of the UNet's prediction.

    Args:
        scheduler: a diffusers training scheduler.
        latents: (B, C, h, w) clean latents.
        noise: (B, C, h, w).
        timesteps: (B,) int64.

    Returns:
        (B, C, h, w): the noise, or the velocity for ``prediction_type='v_prediction'``.
    """
    if prediction_type(scheduler) == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    return noise
