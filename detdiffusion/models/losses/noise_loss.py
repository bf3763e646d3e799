"""The denoising loss: Eq. 1 with GeoDiffusion's foreground weights and optional weights by noise level."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from detdiffusion.models.losses.box_masks import foreground_weights
from detdiffusion.models.losses.timestep_weights import (
    debiased_weights,
    min_snr_weights,
    prediction_type,
)
from detdiffusion.registry import MODELS
from detdiffusion.utils.errors import UserError


@MODELS.register_module()
class NoiseLoss(nn.Module):
    """Weighted mean squared error of the UNet's prediction, in fp32.

    Args:
        foreground: weight latent cells as GeoDiffusion does; False is the plain Eq. 1.
        foreground_weight: factor of the foreground's weight.
        area_power: a box's weight is divided by its area raised to this power.
        snr_gamma: cap of min-SNR weights, or None for no min-SNR weights.
        debiased: use the weights by noise level of the debiased estimation loss, see
            :func:`~detdiffusion.models.losses.timestep_weights.debiased_weights`; not together with ``snr_gamma``.
        loss_weight: factor of the loss.

    Raises:
        UserError: a weight or gamma is not positive, or both weights by noise level are set.
    """

    def __init__(
        self,
        foreground: bool = True,
        foreground_weight: float = 2.0,
        area_power: float = 0.2,
        snr_gamma: float | None = None,
        debiased: bool = False,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if debiased and snr_gamma is not None:
            raise UserError(f"NoiseLoss: debiased=True and snr_gamma={snr_gamma} exclude each other; set one")
        for name, value in (("foreground_weight", foreground_weight), ("snr_gamma", snr_gamma)):
            if value is not None and value <= 0:
                raise UserError(f"NoiseLoss: {name} must be positive, got {value}")
        self.foreground = foreground
        self.foreground_weight = foreground_weight
        self.area_power = area_power
        self.snr_gamma = snr_gamma
        self.debiased = debiased
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        boxes: list[Tensor] | None = None,
        timesteps: Tensor | None = None,
        scheduler: Any = None,
    ) -> Tensor:
        """Compute the loss of a batch.

        Args:
            pred: (B, C, h, w) output of the UNet.
            target: (B, C, h, w) noise or velocity (see ``noise_target``).
            boxes: one (N_i, 4) tensor per sample, xyxy in [0, 1]; needed with ``foreground``.
            timesteps: (B,) int64; needed for weights by noise level.
            scheduler: the training scheduler; needed for weights by noise level.

        Returns:
            float32 scalar.

        Raises:
            UserError: shapes differ, an input that an option needs is missing, or the scheduler's prediction
                type is neither epsilon nor v_prediction.
        """
        if pred.shape != target.shape:
            raise UserError(
                f"NoiseLoss: prediction {tuple(pred.shape)} and target {tuple(target.shape)} differ"
            )
        if scheduler is not None:
            prediction_type(scheduler)
        with torch.autocast(pred.device.type, enabled=False):
            loss = (pred.float() - target.float()).square()
            if self.foreground:
                if boxes is None or len(boxes) != len(pred):
                    raise UserError(
                        f"NoiseLoss: foreground=True needs the boxes of {len(pred)} samples, got "
                        f"{None if boxes is None else len(boxes)}"
                    )
                boxes = [b.to(pred.device) for b in boxes]
                size = pred.shape[-2:]
                loss = loss * foreground_weights(boxes, *size, self.foreground_weight, self.area_power)
            loss = loss.mean((1, 2, 3))
            if self.debiased or self.snr_gamma is not None:
                if timesteps is None or scheduler is None:
                    raise UserError("NoiseLoss: weights by noise level need timesteps and scheduler")
                timesteps = timesteps.to(loss.device)
                if self.debiased:
                    loss = loss * debiased_weights(scheduler, timesteps)
                else:
                    loss = loss * min_snr_weights(scheduler, timesteps, self.snr_gamma)
            return self.loss_weight * loss.mean()
