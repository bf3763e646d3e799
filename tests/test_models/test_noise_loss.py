"""Noise loss, GeoDiffusion's weights, time step weights and box masks against naive loops."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from detdiffusion.models.losses import (
    NoiseLoss,
    boxes_to_masks,
    debiased_weights,
    foreground_weights,
    min_snr_weights,
    noise_target,
    object_masks,
    sqrt_alpha_bar,
)
from detdiffusion.structures.layout import Layout
from detdiffusion.utils.errors import UserError

SD15 = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)


def random_boxes(count, seed):
    g = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=g).sort(1).values
    return corners.reshape(count, 4)


def naive_weights(boxes, h, w):
    weights = np.full((h, w), float(h * w) ** -0.2)
    for box in boxes.tolist():
        # numpy's round is half-to-even, as torch's
        x1, y1, x2, y2 = (int(np.round(np.float32(v) * np.float32(s))) for v, s in zip(box, (w, h, w, h)))
        for y in range(y1, y2):
            for x in range(x1, x2):
                weights[y, x] = 2.0 * ((y2 - y1 + 1) * (x2 - x1 + 1)) ** -0.2
    return weights / weights.mean()


@pytest.mark.parametrize("h, w", [(8, 8), (57, 100)])
def test_foreground_weights_equal_a_loop(h, w):
    boxes = [random_boxes(n, seed=n) for n in (4, 0, 8, 1)]
    weights = foreground_weights(boxes, h, w)
    assert weights.shape == (4, 1, h, w) and weights.dtype == torch.float32
    for got, box in zip(weights, boxes):
        np.testing.assert_allclose(got[0].numpy(), naive_weights(box, h, w), rtol=1e-5)
        assert got.mean().item() == pytest.approx(1, abs=1e-5)


def test_later_boxes_overwrite_and_empty_batches_are_flat():
    whole, part = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[0.0, 0, 0.5, 0.5]])
    hidden = foreground_weights([torch.cat((part, whole))], 8, 8)
    assert torch.allclose(hidden, torch.ones(1, 1, 8, 8))
    seen = foreground_weights([torch.cat((whole, part))], 8, 8)
    assert seen[0, 0, 0, 0] / seen[0, 0, 7, 7] == pytest.approx((25 / 81) ** -0.2, rel=1e-5)
    assert torch.allclose(foreground_weights([torch.zeros(0, 4)] * 2, 3, 5), torch.ones(2, 1, 3, 5))


def test_sqrt_alpha_bar_of_sd15():
    values = sqrt_alpha_bar(DDPMScheduler(**SD15), torch.tensor([100, 250, 500, 750, 999]))
    assert [round(v, 2) for v in values.tolist()] == [0.95, 0.82, 0.53, 0.24, 0.07]
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    np.testing.assert_allclose(values, np.sqrt(np.cumprod(1 - betas))[[100, 250, 500, 750, 999]], rtol=1e-4)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr(kind):
    scheduler = DDPMScheduler(**SD15, prediction_type=kind)
    t = torch.tensor([0, 100, 400, 999])
    alpha = scheduler.alphas_cumprod[t].double()
    snr = alpha / (1 - alpha)
    expected = torch.minimum(snr, torch.tensor(5.0)) / (snr if kind == "epsilon" else snr + 1)
    assert torch.allclose(min_snr_weights(scheduler, t, 5.0).double(), expected, rtol=1e-4)


@pytest.mark.parametrize("kind, limit", [("epsilon", 1.0), ("v_prediction", 0.0)])
def test_min_snr_at_zero_terminal_snr(kind, limit):
    scheduler = DDPMScheduler(**SD15, prediction_type=kind, rescale_betas_zero_snr=True)
    assert min_snr_weights(scheduler, torch.tensor([999]), 5.0).item() == pytest.approx(limit, abs=1e-4)


def test_noise_target():
    latents, noise, t = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3), torch.tensor([10, 700])
    assert torch.equal(noise_target(DDPMScheduler(**SD15), latents, noise, t), noise)
    scheduler = DDPMScheduler(**SD15, prediction_type="v_prediction")
    alpha = scheduler.alphas_cumprod[t].reshape(2, 1, 1, 1)
    expected = alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
    assert torch.allclose(noise_target(scheduler, latents, noise, t), expected, atol=1e-6)


def test_noise_loss():
    g = torch.Generator().manual_seed(0)
    pred, target = torch.randn(3, 4, 8, 8, generator=g), torch.randn(3, 4, 8, 8, generator=g)
    boxes, t = [random_boxes(n, seed=n) for n in (2, 0, 5)], torch.tensor([3, 500, 990])
    error = (pred - target).double().numpy() ** 2
    assert NoiseLoss(foreground=False)(pred, target).item() == pytest.approx(error.mean(), rel=1e-5)
    weights = np.stack([naive_weights(b, 8, 8) for b in boxes])[:, None]
    assert NoiseLoss()(pred, target, boxes).item() == pytest.approx((error * weights).mean(), rel=1e-5)
    scheduler = DDPMScheduler(**SD15)
    snr = min_snr_weights(scheduler, t, 5.0).double().numpy()
    expected = ((error * weights).mean((1, 2, 3)) * snr).mean()
    assert NoiseLoss(snr_gamma=5.0)(pred, target, boxes, t, scheduler).item() == pytest.approx(
        expected, rel=1e-5
    )
    assert NoiseLoss()(pred.bfloat16(), target, boxes).dtype == torch.float32


def test_debiased_weights_count_the_clean_error_by_the_root_of_the_snr():
    """eps error = x0 error * sqrt(SNR), v error = x0 error * sqrt(SNR + 1): both kinds weigh x0 alike."""
    t = torch.tensor([0, 100, 500, 900, 999])
    alpha_bar = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    snr = (alpha_bar / (1 - alpha_bar))[t.numpy()]
    weights = debiased_weights(DDPMScheduler(**SD15), t).numpy()
    np.testing.assert_allclose(weights * np.sqrt(snr) / (weights * np.sqrt(snr))[2], 1, rtol=1e-4)
    v = debiased_weights(DDPMScheduler(**SD15, prediction_type="v_prediction"), t).numpy()
    ratio = v * (snr + 1) / (weights * snr)
    np.testing.assert_allclose(ratio / ratio[0], 1, rtol=1e-4)
    everywhere = debiased_weights(DDPMScheduler(**SD15), torch.arange(1000))
    assert everywhere.mean().item() == pytest.approx(1, rel=1e-5)

    x, y = torch.randn(5, 4, 8, 8), torch.randn(5, 4, 8, 8)
    expected = ((x - y) ** 2).mean((1, 2, 3)).numpy() @ weights / 5
    loss = NoiseLoss(foreground=False, debiased=True)(x, y, None, t, DDPMScheduler(**SD15))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_noise_loss_errors():
    x = torch.randn(2, 4, 8, 8)
    with pytest.raises(UserError, match="boxes of 2 samples, got None"):
        NoiseLoss()(x, x)
    with pytest.raises(UserError, match="differ"):
        NoiseLoss()(x, x[:1])
    with pytest.raises(UserError, match="need timesteps"):
        NoiseLoss(foreground=False, snr_gamma=5.0)(x, x)
    with pytest.raises(UserError, match="snr_gamma must be positive"):
        NoiseLoss(snr_gamma=-1)
    with pytest.raises(UserError, match="exclude each other"):
        NoiseLoss(snr_gamma=5.0, debiased=True)
    with pytest.raises(UserError, match="'sample'"):
        scheduler = DDPMScheduler(**SD15, prediction_type="sample")
        NoiseLoss(foreground=False)(x, x, scheduler=scheduler)


def test_boxes_to_masks_takes_cells_by_their_centres():
    boxes = torch.cat((random_boxes(20, seed=2), torch.tensor([[0.49, 0.49, 0.5, 0.5], [1.0, 1, 1, 1]])))
    masks = boxes_to_masks(boxes, 7, 9)
    assert masks.shape == (22, 7, 9) and masks.dtype == torch.bool
    assert masks.flatten(1).any(1).all()
    for mask, (x1, y1, x2, y2) in zip(masks[:20], boxes[:20].tolist()):
        inside = [[x1 <= (x + 0.5) / 9 < x2 and y1 <= (y + 0.5) / 7 < y2 for x in range(9)] for y in range(7)]
        if np.any(inside):
            assert mask.tolist() == inside
        else:
            assert 1 <= mask.sum() <= max(9, 7)
    # whole cells: area interpolation of the masks equals the boxes' own area
    assert boxes_to_masks(torch.tensor([[0.25, 0.5, 0.75, 1.0]]), 8, 8).sum() == 16
    assert boxes_to_masks(torch.zeros(0, 4), 4, 5).shape == (0, 4, 5)


def test_object_masks_keep_real_masks():
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5]])
    own = torch.rand(1, 6, 6) > 0.5
    layouts = [Layout(boxes=boxes, names=["a"], masks=own), Layout(boxes=boxes, names=["a"])]
    masks = object_masks(layouts, 4, 4)
    assert torch.equal(masks[0], own)
    assert torch.equal(masks[1], boxes_to_masks(boxes, 4, 4))
