"""An initialisation of ``AutoencoderKL`` that allows training it in a few thousand steps."""

from __future__ import annotations

import torch
from torch import nn

from detdiffusion.utils.errors import UserError

_OFFSET = 16.0  # size of the constant, in standard deviations of the signal
_SHIFT = 3.0  # a point where SiLU is nearly linear
_LOGVAR = -6.0


@torch.no_grad()
def begin_linear(vae: nn.Module) -> None:
    """Initialise a diffusers ``AutoencoderKL`` as a nearly linear autoencoder.

    Residual branches are initialised to zero, so the image passes only shortcuts, strided convolutions and upsampling
    and is reconstructed coarsely but with its colours. The two output norms would remove brightness and contrast;
    therefore a constant of alternating sign, larger than the signal, makes their statistics nearly constant, and their
    bias shifts the signal to where SiLU is nearly linear. Latents start with little noise.

    Raises:
        UserError: the norms have more than one group, each of which would subtract its mean.
    """
    if vae.config.norm_num_groups != 1:
        raise UserError(f"linear_start: norm_num_groups must be 1, got {vae.config.norm_num_groups}")
    for module in vae.modules():
        kind = type(module).__name__
        if kind == "ResnetBlock2D":
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)
            if module.conv_shortcut is not None:
                _carry(module.conv_shortcut)
        elif kind == "Attention":
            nn.init.zeros_(module.to_out[0].weight)
            nn.init.zeros_(module.to_out[0].bias)
        elif kind in ("Downsample2D", "Upsample2D"):
            _carry(module.conv)
    for part, last in ((vae.encoder, vae.encoder.mid_block), (vae.decoder, vae.decoder.up_blocks[-1])):
        _carry(part.conv_in)
        _open(part.conv_norm_out, last.resnets[-1].conv2, part.conv_out)
    latents = vae.config.latent_channels
    _carry(vae.quant_conv)
    nn.init.zeros_(vae.quant_conv.weight[latents:])
    nn.init.constant_(vae.quant_conv.bias[latents:], _LOGVAR)
    _carry(vae.post_quant_conv)


def _carry(conv: nn.Conv2d) -> None:
    """Keep colours in the first three channels, averaged when downsampling; the others get zero-mean filters."""
    nn.init.orthogonal_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    colours, others = conv.weight[:3], conv.weight[3:, :3]
    others -= others.mean(dim=(2, 3), keepdim=True)
    colours.zero_()
    centre = conv.kernel_size[0] // 2
    for channel in range(3):
        if conv.stride[0] == 2:
            colours[channel, channel, :2, :2] = 0.25
        else:
            colours[channel, channel, centre, centre] = 1


def _open(norm: nn.GroupNorm, before: nn.Conv2d, after: nn.Conv2d) -> None:
    """Pass the signal through ``norm`` and SiLU: ``before`` adds a constant that ``norm`` and ``after`` subtract."""
    signs = 1 - 2 * (torch.arange(norm.num_channels) % 2).float()
    before.bias.copy_(_OFFSET * signs)
    shift = torch.tensor(_SHIFT)
    slope = torch.sigmoid(shift) * (1 + shift * (1 - torch.sigmoid(shift)))  # of SiLU at _SHIFT
    norm.weight.fill_(_OFFSET / slope)
    norm.bias.copy_(_SHIFT - _OFFSET / slope * signs)
    _carry(after)
    after.weight[3:] -= after.weight[3:].mean(dim=(2, 3), keepdim=True)
    # undo the subtraction of the mean of all channels from each colour by the norm
    after.weight[:3, :3, 1, 1] += 1 / (norm.num_channels - 3)
    after.bias.copy_(-nn.functional.silu(shift) * after.weight.sum(dim=(1, 2, 3)))
