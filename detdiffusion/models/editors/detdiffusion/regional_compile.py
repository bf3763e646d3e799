"""``torch.compile`` of the UNet's and the mask head's repeated parts."""

from __future__ import annotations

import torch
from torch import nn

REGIONS = ("ResnetBlock2D", "BasicTransformerBlock", "ResidualFusion", "DecoderLayer")
CUDA_GRAPH_MODES = ("reduce-overhead", "max-autotune")


def compile_regions(network: nn.Module, **options) -> int:
    """Compile every residual and transformer block in place; parameter names do not change.

    The UNet's down and up blocks are not compiled as a whole: the perception-aware head reads features between these
    parts with hooks, which a compiled caller would not run. In addition, parts of equal shape share compiled code, so
    compilation takes seconds instead of minutes.

    Args:
        network: a diffusers ``UNet2DConditionModel`` or a :class:`.mask_head.MaskHead`.
        **options: arguments of :func:`torch.compile`, such as ``mode='max-autotune-no-cudagraphs'``.

    Returns:
        The number of compiled parts.
    """
    parts = [module for module in network.modules() if type(module).__name__ in REGIONS]
    for part in parts:
        part.compile(**options)
    return len(parts)


def start_cuda_graph_steps(unet: nn.Module, mode: str | None = None, **_) -> None:
    """Begin a new step of CUDA graphs at each forward pass of the UNet, if ``mode`` records such graphs.

    The outputs of a recorded graph are overwritten in the next step. Without the mark, torch takes a later call of the
    same region in one pass for a new step, while the mask head and the backward pass still read the earlier outputs.
    """
    if mode in CUDA_GRAPH_MODES:
        unet.register_forward_pre_hook(_start_step)


def _start_step(module: nn.Module, args: tuple) -> None:
    torch.compiler.cudagraph_mark_step_begin()
