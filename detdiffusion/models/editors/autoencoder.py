"""Training of a diffusers ``AutoencoderKL``, for data that no public VAE reconstructs well."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from detdiffusion.registry import MODELS
from detdiffusion.utils.errors import UserError

from .detdiffusion.components import build_component
from .detdiffusion.latents import LatentVariance, posterior
from .linear_start import begin_linear


def edge_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean L1 distance between the horizontal and vertical differences of two (B, C, H, W) images."""
    return sum(F.l1_loss(a.diff(dim=dim), b.diff(dim=dim)) for dim in (2, 3))


@MODELS.register_module()
class Autoencoder(BaseModel):
    """An ``AutoencoderKL`` with an L1 + MSE reconstruction loss, an optional edge loss and a small KL term.

    Args:
        vae: an ``AutoencoderKL`` or its config, see :func:`.detdiffusion.components.build_component`.
        kl_weight: weight of the KL divergence to a standard normal, a mean over latent elements.
        edge_weight: weight of the L1 distance of horizontal and vertical differences, which sharpens edges.
        linear_start: initialise as a linear autoencoder, see :func:`.linear_start.begin_linear`; for a ``vae``
            that is trained from scratch.
        freeze_encoder: train the decoder only; latents do not change, so models trained on them stay valid.
        dtype: autocast dtype of training, ``fp32`` or ``bf16``.
        data_preprocessor: default scales uint8 images to [-1, 1].

    Raises:
        UserError: the dtype is not supported, or ``vae`` cannot be built.
    """

    def __init__(
        self,
        vae,
        kl_weight: float = 1e-4,
        edge_weight: float = 0.0,
        linear_start: bool = False,
        freeze_encoder: bool = False,
        dtype: str = "fp32",
        data_preprocessor: dict | None = None,
    ) -> None:
        if data_preprocessor is None:
            data_preprocessor = dict(type="mmengine.ImgDataPreprocessor", mean=[127.5] * 3, std=[127.5] * 3)
        if dtype not in ("fp32", "bf16"):
            raise UserError(f"Autoencoder: dtype must be 'fp32' or 'bf16', got {dtype!r}")
        super().__init__(data_preprocessor=data_preprocessor)
        self.vae = build_component(vae, "vae")
        if linear_start:
            begin_linear(self.vae)
        self.kl_weight, self.edge_weight, self.dtype_name = kl_weight, edge_weight, dtype
        self.freeze_encoder = freeze_encoder
        if freeze_encoder:
            for part in (self.vae.encoder, self.vae.quant_conv):
                part.requires_grad_(False)

    def forward(self, inputs: Tensor, data_samples: Sequence | None = None, mode: str = "tensor"):
        """Return losses (``mode='loss'``) or reconstructions in [-1, 1] of images (B, 3, H, W) in [-1, 1]."""
        if mode != "loss":
            posterior = self.vae.encode(inputs).latent_dist
            return self.vae.decode(posterior.mode(), return_dict=False)[0]
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.dtype_name == "bf16"):
            with torch.set_grad_enabled(not self.freeze_encoder):
                posterior = self.vae.encode(inputs).latent_dist
            reconstruction = self.vae.decode(posterior.sample(), return_dict=False)[0].float()
        with torch.no_grad():
            psnr = -10 * torch.log10(F.mse_loss(reconstruction, inputs) / 4)
        losses = dict(loss_l1=F.l1_loss(reconstruction, inputs), loss_mse=F.mse_loss(reconstruction, inputs))
        if self.edge_weight:
            losses["loss_edge"] = self.edge_weight * edge_distance(reconstruction, inputs)
        if not self.freeze_encoder:
            losses["loss_kl"] = self.kl_weight * posterior.kl().mean() / posterior.mean[0].numel()
        return dict(losses, psnr=psnr)

    @torch.no_grad()
    def fit_scaling_factor(self, images: Tensor) -> float:
        """Set and return the factor that scales latents of images (B, 3, H, W) in [-1, 1] to unit deviation."""
        variance = LatentVariance()
        variance.add(*posterior(self.vae, images))
        self.vae.register_to_config(scaling_factor=round(1 / variance.deviation, 5))
        return self.vae.config.scaling_factor
