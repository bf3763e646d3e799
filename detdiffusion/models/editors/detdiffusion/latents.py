"""Encoding of images to latents and decoding, with a frozen diffusers VAE."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detdiffusion.utils.errors import UserError

DECODED_PIXELS = 2**20
"""Pixels of the images that are decoded at once, four of 512 x 512: decoding takes more memory than denoising."""


def latent_scale(vae: nn.Module) -> int:
    """Return the number of image pixels per latent cell: 8 for Stable Diffusion and TAESD, with four blocks each."""
    return 2 ** (len(vae.config.block_out_channels) - 1)


def latent_sides(height: int, width: int, scale: int) -> tuple[int, int]:
    """Return the rows and columns of the latents of an image.

    Args:
        height, width: size of the image in pixels.
        scale: image pixels per latent cell.

    Raises:
        UserError: a side is not divisible by the scale.
    """
    if height < 1 or width < 1 or height % scale or width % scale:
        raise UserError(f"height and width must be divisible by {scale}, got {height} x {width}")
    return height // scale, width // scale


def posterior(vae: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Encode images (B, 3, H, W) in [-1, 1] to mean and deviation (B, C, h, w), 0 for a deterministic VAE."""
    with torch.autocast(images.device.type, enabled=False):  # also under a wrapper's mixed precision
        encoded = vae.encode(images.to(_dtype(vae)))
    if hasattr(encoded, "latent_dist"):
        # contiguous, as random numbers are generated in memory order, which must not depend on the kernel
        return encoded.latent_dist.mean.contiguous(), encoded.latent_dist.std.contiguous()
    return encoded.latents.contiguous(), torch.zeros_like(encoded.latents)


class LatentVariance:
    """Variance of the latents of all images of a set, collected batch by batch.

    It is the variance of values that are drawn from the posteriors: that of their means, over all images, channels and
    cells together, plus the mean variance of the posteriors.
    """

    def __init__(self) -> None:
        self._count, self._sum, self._squares, self._noise = 0, 0.0, 0.0, 0.0

    def add(self, mean: Tensor, std: Tensor) -> None:
        """Add the posterior of a batch, mean and deviation (B, C, h, w), see :func:`posterior`."""
        mean, std = mean.detach().cpu().double(), std.detach().cpu().double()
        self._count += mean.numel()
        self._sum += mean.sum().item()
        self._squares += mean.square().sum().item()
        self._noise += std.square().sum().item()

    @property
    def deviation(self) -> float:
        """The standard deviation; 1 / deviation is the ``scaling_factor`` that gives the latents unit deviation."""
        of_means = (self._squares - self._sum**2 / self._count) / (self._count - 1)
        return math.sqrt(max(of_means, 0.0) + self._noise / self._count)


def sample_latents(vae: nn.Module, mean: Tensor, std: Tensor) -> Tensor:
    """Sample scaled float32 latents from a posterior, using torch's global random state."""
    return scaled(vae, mean + std * torch.randn_like(mean))


def scaled(vae: nn.Module, latents: Tensor) -> Tensor:
    """Return float32 latents at the denoising network's scale."""
    return (latents * vae.config.scaling_factor).float()


def kept_cells(keep: Tensor, scale: int) -> Tensor:
    """Return the latent cells of which every pixel is kept.

    Args:
        keep: (B, 1, H, W) bool, True for pixels that are kept.
        scale: image pixels per latent cell.

    Returns:
        (B, 1, H / scale, W / scale) float32, 1 for kept cells and 0 for others.
    """
    return 1 - F.max_pool2d((~keep).float(), scale)


def decode(vae: nn.Module, latents: Tensor) -> Tensor:
    """Decode scaled latents to images (B, 3, H, W) float32 in [0, 1], in slices of at most :data:`DECODED_PIXELS`."""
    latents = (latents / vae.config.scaling_factor).to(_dtype(vae))
    pixels = latents.shape[-2] * latents.shape[-1] * latent_scale(vae) ** 2
    slices = latents.split(max(1, DECODED_PIXELS // pixels))
    images = torch.cat([vae.decode(part, return_dict=False)[0].float() for part in slices])
    return (images / 2 + 0.5).clamp(0, 1)


def _dtype(vae: nn.Module) -> torch.dtype:
    return next(vae.parameters()).dtype
