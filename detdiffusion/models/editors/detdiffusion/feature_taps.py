"""Collection of UNet features at every resolution during a forward pass.

The output of ``up_blocks[i]`` is taken after its upsampler (8/16/32/32 for a 32 x 32 latent), so the decoder's taps
are the *inputs* of each upsampler and of ``conv_norm_out`` (4/8/16/32). These modules are outside the parts that
diffusers recomputes under gradient checkpointing, so the tensors carry gradients with checkpointing too.

Hooks exist only inside the ``with`` block, so a deep copy of the model (EMA) has none.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from detdiffusion.utils.errors import UserError

MODES = ("decoder", "down+up")


class FeatureTaps:
    """Captures multi-scale features of a diffusers ``UNet2DConditionModel`` (f_n in the paper's Eq. 3).

    Args:
        unet: a UNet with ``down_blocks`` and ``up_blocks`` of any number of levels L, plain or in a wrapper
            that forwards attribute access.
        mode: ``'decoder'``: the last hidden state of each up block, before its upsampler; ``'down+up'``: the same,
            with the encoder's last hidden state of that resolution (before its downsampler) concatenated in front
            along the channels.

    Attributes:
        channels: channels of each level, coarsest first; known before any forward pass.
        features: after a forward pass, L tensors (B, C_l, h_l, w_l), coarsest first; the finest has the latent's
            size. They are those of the latest forward pass inside the ``with`` block and remain available after it.

    Raises:
        UserError: the mode is unknown, the UNet's blocks cannot be tapped, there was no forward pass, or a feature has
            no gradient although gradients are enabled and the UNet is trained.

    Example:
        >>> with FeatureTaps(unet) as taps:
        ...     noise_pred = unet(latents, timesteps, encoder_hidden_states).sample
        >>> mask_logits = mask_head(taps.features)
    """

    def __init__(self, unet: nn.Module, mode: str = "decoder") -> None:
        if mode not in MODES:
            raise UserError(f"feature taps: mode must be one of {MODES}, got {mode!r}")
        self.unet = unet
        self.mode = mode
        self.channels: list[int] = [
            sum(channels) for channels in zip(*(path[1] for path in self._paths(unet, mode)))
        ]
        self._captured: dict[tuple[int, int], Tensor] = {}
        self._handles: list[Any] = []

    @staticmethod
    def _paths(unet: nn.Module, mode: str) -> list[tuple[list[nn.Module], list[int]]]:
        """Return for each path the modules whose first input is a level's feature, and the channels of the levels."""
        up, down = list(unet.up_blocks), list(unet.down_blocks)
        tail = unet.conv_norm_out if getattr(unet, "conv_norm_out", None) is not None else unet.conv_out
        paths = [([_sampler(b, "upsamplers", i) for i, b in enumerate(up[:-1])] + [tail], _widths(up))]
        if mode == "down+up":
            modules = [_sampler(b, "downsamplers", i) for i, b in enumerate(down[:-1])]
            if getattr(unet, "mid_block", None) is None:
                raise UserError(
                    "feature taps: mode 'down+up' needs a UNet with a mid block, but this one has none"
                )
            paths.insert(0, ([unet.mid_block] + modules[::-1], _widths(down)[::-1]))
        return paths

    def __enter__(self) -> FeatureTaps:
        if self._handles:
            raise UserError("feature taps: already active; use one FeatureTaps object per nested forward")
        self._captured = {}
        for p, (modules, _) in enumerate(self._paths(self.unet, self.mode)):
            for level, module in enumerate(modules):
                hook = partial(self._capture, (p, level))
                self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        return self

    def __exit__(self, *exc_info: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _capture(self, key: tuple[int, int], module: nn.Module, args: tuple, kwargs: dict) -> None:
        self._captured[key] = args[0] if args else kwargs["hidden_states"]

    @property
    def features(self) -> list[Tensor]:
        if not self._captured:
            raise UserError("feature taps: no forward of the UNet was seen inside the `with` block")
        if torch.is_grad_enabled() and all(p.requires_grad for p in self.unet.parameters()):
            if any(not f.requires_grad for f in self._captured.values()):
                raise UserError(
                    "feature taps: a UNet feature has no gradient although the UNet is trained; "
                    "either the forward ran under no_grad, or whole blocks are wrapped in reentrant "
                    "checkpointing: use unet.enable_gradient_checkpointing() or use_reentrant=False"
                )
        levels, paths = len(self.channels), len(self._captured) // len(self.channels)
        per_level = [[self._captured[p, level] for p in range(paths)] for level in range(levels)]
        return [torch.cat(tensors, dim=1) if len(tensors) > 1 else tensors[0] for tensors in per_level]

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Any, list[Tensor]]:
        """Run the UNet once with active taps.

        Returns:
            The UNet's output and the features, coarsest first.
        """
        with self:
            output = self.unet(*args, **kwargs)
        return output, self.features

    def __getstate__(self) -> dict[str, Any]:
        # Copies (EMA) must not share hooks or tensors of an old graph.
        return {**self.__dict__, "_captured": {}, "_handles": []}


def _sampler(block: nn.Module, name: str, index: int) -> nn.Module:
    samplers = getattr(block, name, None)
    if not samplers:
        raise UserError(
            f"feature taps: {type(block).__name__} number {index} has no {name}; every level except the last "
            "must change the resolution"
        )
    return samplers[0]


def _widths(blocks: list[nn.Module]) -> list[int]:
    """Return the channels of each block's last hidden state, before its sampler."""
    return [list(block.resnets)[-1].out_channels for block in blocks]
