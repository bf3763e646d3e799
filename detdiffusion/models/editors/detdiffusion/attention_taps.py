"""Collection of cross-attention probabilities during a UNet's forward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionTaps:
    """Context manager that collects the cross-attention probabilities of a ``UNet2DConditionModel``.

    The UNet's attention kernels are not changed: queries and keys are computed a second time, which costs two
    projections and a softmax per layer. The hooks are removed at the end of the ``with`` block.

    Args:
        unet: a ``UNet2DConditionModel`` with ``BasicTransformerBlock``s (``attn2`` is the cross-attention).

    Attributes:
        probabilities: after the forward pass, one (B, heads, P, L) float32 tensor per cross-attention layer, with
            P latent positions in row-major order and L text tokens.
    """

    def __init__(self, unet: nn.Module) -> None:
        self._layers = [module for name, module in unet.named_modules() if name.endswith("attn2")]
        self._handles: list = []
        self.probabilities: list[Tensor] = []

    def __enter__(self) -> AttentionTaps:
        self.probabilities = []
        self._handles = [
            layer.register_forward_pre_hook(self._collect, with_kwargs=True) for layer in self._layers
        ]
        return self

    def __exit__(self, *_) -> None:
        for handle in self._handles:
            handle.remove()

    def _collect(self, layer: nn.Module, args: tuple, kwargs: dict) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        states = kwargs["encoder_hidden_states"]
        query, key = (
            projection(x).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
            for projection, x in ((layer.to_q, hidden), (layer.to_k, states))
        )
        scores = (query.float() @ key.float().transpose(-1, -2)) * layer.scale
        if kwargs.get("attention_mask") is not None:  # (B, 1, L): a large negative number for masked tokens
            scores = scores + kwargs["attention_mask"].float()[:, None]
        self.probabilities.append(torch.softmax(scores, dim=-1))
