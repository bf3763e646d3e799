"""Latents of an autoencoder."""

import pytest
import torch

from detdiffusion.models.editors.detdiffusion.latents import LatentVariance


def test_the_variance_of_batches_is_that_of_all_latents_at_once():
    torch.manual_seed(0)
    mean = (
        torch.randn(7, 4, 3, 5) * 0.1 + torch.randn(7, 4, 1, 1) + 3
    )  # most of it between images and channels
    std = torch.rand(7, 4, 3, 5)
    variance = LatentVariance()
    for part in (slice(0, 2), slice(2, 3), slice(3, 7)):
        variance.add(mean[part], std[part])
    assert variance.deviation == pytest.approx((mean.var() + std.square().mean()).sqrt().item(), rel=1e-5)
    drawn = mean + std * torch.randn(500, *mean.shape)
    assert variance.deviation == pytest.approx(drawn.std().item(), rel=1e-2)
