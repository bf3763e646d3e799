"""The perception-aware branch: construction of its head and loss, and its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from detdiffusion.registry import MODELS
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

from ...losses import object_masks
from .regional_compile import compile_regions


def build_branch(mask_head: dict, perception_loss: dict, channels: list[int]) -> tuple[nn.Module, nn.Module]:
    """Build the segmentation head on UNet features and its loss.

    Args:
        mask_head: config of the head.
        perception_loss: config of the loss (Eq. 4 and 5).
        channels: channels of the features, coarsest level first.

    Raises:
        UserError: head and loss are not compatible.
    """
    head = MODELS.build(dict(mask_head, in_channels=channels))
    loss = MODELS.build(perception_loss)
    if getattr(loss, "assign", None) == "fixed" and mask_head.get("queries", "learned") != "layout":
        raise UserError(
            "perception_loss.assign='fixed' assigns object j to query j, which requires "
            "mask_head.queries='layout'; set both, or assign='hungarian'"
        )
    if getattr(loss, "class_weight", 0) and mask_head.get("num_classes") is None:
        raise UserError(f"perception_loss.class_weight={loss.class_weight} needs mask_head.num_classes")
    return head, loss


def optimise_head(head: nn.Module, channels_last: bool, compile: bool | Mapping) -> None:
    """Apply the UNet's memory format and compilation to the head."""
    if channels_last:
        head.to(memory_format=torch.channels_last)
    if compile:
        compile_regions(head, **(compile if isinstance(compile, Mapping) else {}))


def class_labels(layouts: Sequence[Layout], device: torch.device) -> list[Tensor] | None:
    """Return the (N_i,) int64 labels of each layout, or None if a layout has no labels."""
    if any(layout.labels is None for layout in layouts):
        return None
    return [layout.labels.to(device) for layout in layouts]


def masks_to_find(
    layouts: Sequence[Layout], labels: list[Tensor] | None, skip: Tensor, size: tuple[int, int]
) -> tuple[list[Tensor], list[Tensor] | None]:
    """Return the ground-truth masks and labels of a batch; samples in ``skip`` get none.

    Args:
        layouts: B layouts.
        labels: result of :func:`class_labels`.
        skip: (B,) bool, True for samples without targets.
        size: rows and columns of the rectangular masks of layouts without masks.
    """
    skip = skip.tolist()
    masks = object_masks(list(layouts), *size)
    masks = [mask[:0] if skipped else mask for mask, skipped in zip(masks, skip)]
    if labels is not None:
        labels = [label[:0] if skipped else label for label, skipped in zip(labels, skip)]
    return masks, labels
