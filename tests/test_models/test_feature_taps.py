"""Feature taps on real diffusers UNets: sizes, gradients, copies, and the P.A. loss through them."""

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.utils.checkpoint import checkpoint

from detdiffusion.models.editors.detdiffusion.feature_taps import FeatureTaps
from detdiffusion.models.editors.detdiffusion.mask_head import MaskHead
from detdiffusion.models.losses import PerceptionAwareLoss
from detdiffusion.utils.errors import UserError

SD15_UNET = dict(
    sample_size=64,
    in_channels=4,
    out_channels=4,
    block_out_channels=(320, 640, 1280, 1280),
    down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    layers_per_block=2,
    cross_attention_dim=768,
    attention_head_dim=8,
)


def tiny_unet(channels=(8, 8, 16, 16), seed=0, **options):
    torch.manual_seed(seed)
    cross = len(channels) - 1
    config = dict(
        sample_size=32,
        in_channels=4,
        out_channels=4,
        block_out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D",) * cross + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * cross,
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    return UNet2DConditionModel(**{**config, **options})


def inputs(h=32, w=32, batch=2):
    g = torch.Generator().manual_seed(1)
    latents, text = torch.randn(batch, 4, h, w, generator=g), torch.randn(batch, 5, 16, generator=g)
    return latents, torch.full((batch,), 10), text


def tiny_head(channels, **options):
    torch.manual_seed(2)
    config = dict(hidden=16, num_queries=6, num_heads=2, ffn=32, num_layers=3)
    return MaskHead(channels, **{**config, **options})


def pa_gradients(unet, head, mode="decoder"):
    """Gradients of the P.A. loss alone for the UNet's and the head's parameters, by name."""
    for module in (unet, head):
        module.zero_grad(set_to_none=True)
    _, features = FeatureTaps(unet, mode)(*inputs(16, 16))
    masks = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(i)) > 0.5 for i in range(2)]
    PerceptionAwareLoss(loss_weight=1.0)(head(features), masks, torch.ones(2)).backward()
    return {name: p.grad for m in (unet, head) for name, p in m.named_parameters()}


@pytest.mark.parametrize(
    "h, w, sizes",
    [(32, 32, [(4, 4), (8, 8), (16, 16), (32, 32)]), (57, 100, [(8, 13), (15, 25), (29, 50), (57, 100)])],
)
@pytest.mark.parametrize("mode, factor", [("decoder", 1), ("down+up", 2)])
def test_sizes_and_channels(h, w, sizes, mode, factor):
    unet = tiny_unet().eval()
    taps = FeatureTaps(unet, mode)
    assert taps.channels == [16 * factor, 16 * factor, 8 * factor, 8 * factor]
    with torch.no_grad():
        output, features = taps(*inputs(h, w))
    assert output.sample.shape == (2, 4, h, w)
    assert [tuple(f.shape[-2:]) for f in features] == sizes
    assert [f.shape[1] for f in features] == taps.channels


def test_the_finest_tap_is_what_makes_the_prediction():
    unet = tiny_unet().eval()
    with torch.no_grad():
        output, features = FeatureTaps(unet, "down+up")(*inputs())
        tail = unet.conv_out(unet.conv_act(unet.conv_norm_out(features[-1][:, 8:])))
        # the encoder's coarsest feature is what the mid block reads
        seen = []
        handle = unet.down_blocks[-1].register_forward_hook(lambda m, a, out: seen.append(out[0]))
        unet(*inputs())
        handle.remove()
    assert torch.equal(tail, output.sample)
    assert torch.equal(seen[0], features[0][:, :16])


@pytest.mark.parametrize("channels", [(8,), (8, 16), (8, 8, 8, 16, 16)])
@pytest.mark.parametrize("mode", ["decoder", "down+up"])
def test_any_number_of_levels_trains_a_head(channels, mode):
    unet = tiny_unet(channels)
    head = tiny_head(FeatureTaps(unet, mode).channels)
    gradients = pa_gradients(unet, head, mode)
    missing = {name for name, grad in gradients.items() if grad is None or not grad.isfinite().all()}
    # only what comes after the finest tap is out of the P.A. loss's reach
    assert missing == {"conv_norm_out.weight", "conv_norm_out.bias", "conv_out.weight", "conv_out.bias"}


def reentrant(module, *args):
    return checkpoint(module, *args, use_reentrant=True)


@pytest.mark.parametrize("mode", ["decoder", "down+up"])
@pytest.mark.parametrize("function", [None, reentrant], ids=["diffusers", "reentrant"])
def test_checkpointing_gives_the_unet_the_same_gradients(mode, function):
    unet = tiny_unet().train()
    head = tiny_head(FeatureTaps(unet, mode).channels)
    plain = pa_gradients(unet, head, mode)
    unet.enable_gradient_checkpointing(function)
    assert unet.is_gradient_checkpointing
    saved = pa_gradients(unet, head, mode)
    assert plain["conv_in.weight"].abs().sum() > 0
    assert plain["down_blocks.0.resnets.0.conv1.weight"].abs().sum() > 0
    assert plain.keys() == saved.keys()
    for name, gradient in plain.items():
        assert (gradient is None) == (saved[name] is None), name
        if gradient is not None:
            # summed in another order: rounding counts beside the tensor's largest value
            rounding = 1e-6 * float(gradient.abs().max())
            torch.testing.assert_close(saved[name], gradient, rtol=1e-5, atol=rounding, msg=name)


def test_block_wide_reentrant_checkpointing_is_refused_not_silent():
    unet = tiny_unet().train()
    block = unet.up_blocks[1]
    forward = block.forward

    def wrapped(hidden_states, temb, res_hidden_states_tuple, encoder_hidden_states, **_):
        def run(x):
            return forward(x, res_hidden_states_tuple, temb, encoder_hidden_states)

        return checkpoint(run, hidden_states, use_reentrant=True)

    block.forward = wrapped
    with pytest.raises(UserError, match="reentrant"):
        FeatureTaps(unet)(*inputs())


def hook_count(unet):
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in unet.modules())


def test_hooks_are_gone_after_the_block_also_after_an_error():
    unet = tiny_unet()
    with FeatureTaps(unet) as taps:
        assert hook_count(unet) == 4
        unet(*inputs())
    assert hook_count(unet) == 0 and len(taps.features) == 4
    with pytest.raises(RuntimeError), FeatureTaps(unet):
        unet(torch.randn(2, 3, 32, 32), *inputs()[1:])
    assert hook_count(unet) == 0


def test_the_last_forward_wins():
    unet = tiny_unet().eval()
    latents, t, text = inputs()
    with torch.no_grad(), FeatureTaps(unet) as taps:
        unet(latents * 0, t, text)
        unet(latents, t, text)
        expected = FeatureTaps(unet)(latents, t, text)[1]
        assert all(torch.equal(a, b) for a, b in zip(taps.features, expected))


def test_a_deep_copy_taps_its_own_unet():
    class Holder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unet = tiny_unet().eval()
            self.taps = FeatureTaps(self.unet)

    model = Holder()
    _, before = model.taps(*inputs())  # a non-leaf graph is held: the copy must not choke on it
    twin = copy.deepcopy(model)
    assert twin.taps.unet is twin.unet and hook_count(twin.unet) == 0
    with torch.no_grad():
        for parameter in twin.unet.parameters():
            parameter.mul_(0.5)
        _, after = twin.taps(*inputs())
        _, again = model.taps(*inputs())
    assert not torch.equal(after[-1], before[-1])
    assert torch.equal(again[-1], before[-1])


def test_errors():
    unet = tiny_unet((8, 16))
    with pytest.raises(UserError, match="'up'"):
        FeatureTaps(unet, "up")
    with pytest.raises(UserError, match="no forward"):
        _ = FeatureTaps(unet).features
    with torch.no_grad():
        _, features = FeatureTaps(unet)(*inputs(16, 16))
    assert not features[0].requires_grad
    with FeatureTaps(unet) as taps, torch.no_grad():
        unet(*inputs(16, 16))
    with pytest.raises(UserError, match="no_grad"):
        _ = taps.features
    unet.requires_grad_(False)
    assert len(FeatureTaps(unet)(*inputs(16, 16))[1]) == 2


def test_sd15_counts():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15_UNET)
        taps = FeatureTaps(unet)
        head = MaskHead(taps.channels)
    assert taps.channels == [1280, 1280, 640, 320]
    assert FeatureTaps(unet, "down+up").channels == [2560, 2560, 1280, 640]
    unet_count = sum(p.numel() for p in unet.parameters())
    head_count = sum(p.numel() for p in head.parameters())
    assert unet_count == 859_520_964
    assert head_count == 11_592_192
    assert round(100 * head_count / unet_count, 2) == 1.35
