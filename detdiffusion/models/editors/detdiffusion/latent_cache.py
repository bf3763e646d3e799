"""Latents of images seen before: a frozen VAE encodes every image, and its mirror image, once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor


class LatentCache:
    """Mean and deviation of the VAE's posterior in memory, half precision; latents are sampled anew each time.

    An entry takes 4 bytes a latent element: 90 MB for 20,000 entries of 8 x 8 x 16.

    Args:
        encode: images (B, 3, H, W) → mean and deviation, each (B, C, h, w).
    """

    def __init__(self, encode: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        self._encode, self._entries = encode, {}

    def __len__(self) -> int:
        return len(self._entries)

    def moments(self, images: Tensor, keys: Sequence[Hashable]) -> tuple[Tensor, Tensor]:
        """Mean and deviation (B, C, h, w) float32 of images (B, 3, H, W) whose identity is ``keys``."""
        missing = [i for i, key in enumerate(keys) if key not in self._entries]
        if missing:
            mean, std = self._encode(images[missing])
            for i, pair in zip(missing, torch.stack((mean, std), dim=1).half()):
                self._entries[keys[i]] = pair
        pairs = torch.stack([self._entries[key] for key in keys]).float()
        return pairs[:, 0], pairs[:, 1]
