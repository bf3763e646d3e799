"""The autoencoder's training: it learns, and a frozen encoder keeps the latents."""

import pytest
import torch

from detdiffusion.models.editors.autoencoder import Autoencoder, edge_distance
from detdiffusion.utils.errors import UserError


def build(norm_num_groups=4, **options):
    torch.manual_seed(0)
    return Autoencoder(
        dict(
            type="AutoencoderKL",
            block_out_channels=[8, 16],
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            norm_num_groups=norm_num_groups,
        ),
        **options,
    )


def train(model, images, steps=30):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    history = []
    for _ in range(steps):
        losses = model(images, mode="loss")
        optimizer.zero_grad()
        sum(value for name, value in losses.items() if name.startswith("loss")).backward()
        optimizer.step()
        history.append(losses["psnr"].item())
    return history


def images():
    torch.manual_seed(1)
    return torch.rand(4, 3, 2, 2).repeat_interleave(8, 2).repeat_interleave(8, 3) * 2 - 1


def test_it_learns_and_its_scaling_factor_gives_unit_deviation():
    model = build()
    history = train(model, images())
    assert history[-1] > history[0] + 3
    factor = model.fit_scaling_factor(images())
    deviation = model.vae.encode(images()).latent_dist.sample().std().item() * factor
    assert deviation == pytest.approx(1, abs=0.1)
    assert model.vae.config.scaling_factor == factor


def test_a_frozen_encoder_keeps_the_latents():
    model = build(freeze_encoder=True, edge_weight=0.5)
    before = model.vae.encode(images()).latent_dist.mean.clone()
    history = train(model, images())
    assert history[-1] > history[0]
    assert torch.equal(model.vae.encode(images()).latent_dist.mean, before)


def test_a_linear_start_is_one_and_learns_faster():
    plain, linear = build(norm_num_groups=1), build(norm_num_groups=1, linear_start=True)
    torch.manual_seed(2)
    a, b = torch.rand(2, 1, 3, 16, 16) * 2 - 1

    def bend(model):  # how far the middle of two reconstructions is from the reconstruction of the middle
        with torch.no_grad():
            first, second, middle = (model(x) for x in (a, b, (a + b) / 2))
        return ((first + second) / 2 - middle).norm() / (first - second).norm()

    assert bend(linear) < 0.1 < 0.4 < bend(plain)
    with torch.no_grad():
        assert linear.vae.encode(a).latent_dist.std.max() < 0.1
        torch.manual_seed(3)
        blocks = (torch.rand(4, 3, 2, 2) * 2 - 1).repeat_interleave(32, 2).repeat_interleave(32, 3)
        errors = [(model(blocks) - blocks).square().mean() for model in (linear, plain)]
    assert errors[0] < 0.3 * errors[1]  # colours and brightness come through at once
    with pytest.raises(UserError, match="linear_start: norm_num_groups must be 1, got 4"):
        build(linear_start=True)
    assert sum(train(linear, images())) > sum(train(plain, images()))


def test_edge_distance_sees_edges_only():
    a = images()
    assert edge_distance(a, a + 0.3).item() == pytest.approx(0, abs=1e-6)
    step = torch.zeros(1, 1, 4, 4)
    step[..., 2:] = 1  # one of three horizontal differences is 1
    assert edge_distance(step, torch.zeros_like(step)).item() == pytest.approx(1 / 3)


def test_an_unknown_dtype_is_refused():
    with pytest.raises(UserError, match="dtype must be 'fp32' or 'bf16', got 'fp16'"):
        build(dtype="fp16")
