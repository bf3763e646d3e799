"""Per-sample weights that depend on the noise level only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from detdiffusion.utils.errors import UserError

PREDICTION_TYPES = ("epsilon", "v_prediction")


def prediction_type(scheduler: Any) -> str:
    """The scheduler's prediction type.

    Raises:
        UserError: it is neither ``'epsilon'`` nor ``'v_prediction'``.
    """
    kind = scheduler.config.prediction_type
    if kind not in PREDICTION_TYPES:
        raise UserError(
            f"noise loss: the scheduler's prediction_type is {kind!r}; supported: {PREDICTION_TYPES}; "
            "change the training scheduler's config"
        )
    return kind


def sqrt_alpha_bar(scheduler: Any, timesteps: Tensor) -> Tensor:
    """The factor sqrt(alpha_bar_t) of the paper's Eq. 4.

    Args:
        scheduler: a diffusers scheduler with ``alphas_cumprod``.
        timesteps: (B,) int64.

    Returns:
        (B,) float32 in [0, 1], on the timesteps' device.
    """
    return scheduler.alphas_cumprod.to(timesteps.device)[timesteps.long()].float().sqrt()


def min_snr_weights(scheduler: Any, timesteps: Tensor, gamma: float) -> Tensor:
    """Min-SNR weights (https://arxiv.org/abs/2303.09556): min(SNR, gamma) / SNR, over SNR + 1 for
        v-prediction.

    Args:
        scheduler: a diffusers scheduler with ``alphas_cumprod`` and ``config.prediction_type``.
        timesteps: (B,) int64.
        gamma: cap, > 0; the paper's 5.

    Returns:
        (B,) float32 in [0, 1], on the timesteps' device. At zero terminal SNR the limit is taken: 1 for
        epsilon, 0 for v-prediction.
    """
    from diffusers.training_utils import compute_snr  # imports for seconds, and only this option needs it

    snr = compute_snr(scheduler, timesteps)
    if prediction_type(scheduler) == "v_prediction":
        return snr.clamp(max=gamma) / (snr + 1)
    return torch.where(snr > gamma, gamma / snr.clamp(min=gamma), torch.ones_like(snr))


def debiased_weights(scheduler: Any, timesteps: Tensor) -> Tensor:
    """Weights of the debiased estimation loss (https://arxiv.org/abs/2310.08442): 1 / sqrt(SNR) on the noise error.

    The error of the clean latents is then weighted by sqrt(SNR) instead of SNR, so what is decided under heavy noise,
    the place and the contrast of objects, counts for more. For v-prediction the weight is that which gives the
    same, sqrt(SNR) / (SNR + 1).

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
    """What the UNet has to predict.

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
