"""Images to latents and back: a frozen diffusers VAE, deterministic or not."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detdiffusion.utils.errors import UserError


def latent_scale(vae: nn.Module) -> int:
    """Image pixels a latent cell, 8 for Stable Diffusion."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def latent_sides(height: int, width: int, scale: int) -> tuple[int, int]:
    """Rows and columns of the latents of an image.

    Args:
        height, width: of the image in pixels.
        scale: image pixels a latent cell.

    Raises:
        UserError: a side does not divide by the scale.
    """
    if height < 1 or width < 1 or height % scale or width % scale:
        raise UserError(f"height and width must divide by {scale}, got {height} x {width}")
    return height // scale, width // scale


def posterior(vae: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (B, C, h, w) of images (B, 3, H, W) in [-1, 1]; a deterministic VAE has deviation 0."""
    with torch.autocast(images.device.type, enabled=False):  # also under a wrapper's mixed precision
        encoded = vae.encode(images.to(_dtype(vae)))
    if hasattr(encoded, "latent_dist"):
        # contiguous: random numbers are drawn in memory order, which must not depend on the kernel
        return encoded.latent_dist.mean.contiguous(), encoded.latent_dist.std.contiguous()
    return encoded.latents.contiguous(), torch.zeros_like(encoded.latents)


def sample_latents(vae: nn.Module, mean: Tensor, std: Tensor) -> Tensor:
    """Scaled float32 latents from a posterior, by torch's global random state."""
    latents = mean + std * torch.randn_like(mean)
    return (latents * vae.config.scaling_factor).float()


def decode(vae: nn.Module, latents: Tensor) -> Tensor:
    """Images (B, 3, H, W) float32 in [0, 1] of scaled latents."""
    latents = (latents / vae.config.scaling_factor).to(_dtype(vae))
    return (vae.decode(latents, return_dict=False)[0].float() / 2 + 0.5).clamp(0, 1)


def _dtype(vae: nn.Module) -> torch.dtype:
    return next(vae.parameters()).dtype
