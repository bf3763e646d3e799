"""Losses: pure functions and thin registered classes that call them."""

from detdiffusion.models.losses.box_masks import boxes_to_masks, foreground_weights, object_masks
from detdiffusion.models.losses.grounding_loss import AttentionGroundingLoss
from detdiffusion.models.losses.noise_loss import NoiseLoss
from detdiffusion.models.losses.perception_aware_loss import PerceptionAwareLoss, resize_masks
from detdiffusion.models.losses.timestep_weights import (
    debiased_weights,
    min_snr_weights,
    noise_target,
    sqrt_alpha_bar,
)

__all__ = [
    "AttentionGroundingLoss",
    "NoiseLoss",
    "PerceptionAwareLoss",
    "boxes_to_masks",
    "debiased_weights",
    "foreground_weights",
    "min_snr_weights",
    "noise_target",
    "object_masks",
    "resize_masks",
    "sqrt_alpha_bar",
]
