"""``torch.compile`` of the UNet's repeated parts."""

from __future__ import annotations

from torch import nn

REGIONS = ("ResnetBlock2D", "BasicTransformerBlock")


def compile_regions(unet: nn.Module, **options) -> int:
    """Compile every residual and transformer block in place; parameter names do not change.

    The UNet's down and up blocks are not compiled as a whole: the perception-aware head reads features between these
    parts with hooks, which a compiled caller would not run. In addition, parts of equal shape share compiled code, so
    compilation takes seconds instead of minutes.

    Args:
        unet: a diffusers ``UNet2DConditionModel``.
        **options: arguments of :func:`torch.compile`, such as ``mode='max-autotune-no-cudagraphs'``.

    Returns:
        The number of compiled parts.
    """
    parts = [module for module in unet.modules() if type(module).__name__ in REGIONS]
    for part in parts:
        part.compile(**options)
    return len(parts)
