"""The perception-aware branch beside the UNet: its two parts, and the masks that it has to find."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detdiffusion.registry import MODELS
from detdiffusion.structures import Layout
from detdiffusion.utils.errors import UserError

from ...losses import object_masks


def build_branch(mask_head: dict, perception_loss: dict, channels: list[int]) -> tuple[nn.Module, nn.Module]:
    """The segmentation head on UNet features and its loss.

    Args:
        mask_head: config of the head.
        perception_loss: config of the loss (Eq. 4 and 5).
        channels: of the features, coarsest level first.

    Raises:
        UserError: a head that cannot give what the loss wants.
    """
    head = MODELS.build(dict(mask_head, in_channels=channels))
    loss = MODELS.build(perception_loss)
    if getattr(loss, "assign", None) == "fixed" and mask_head.get("queries", "learned") != "layout":
        raise UserError(
            "perception_loss.assign='fixed' gives object j to query j, which means something only for "
            "mask_head.queries='layout'; set both, or assign='hungarian'"
        )
    if getattr(loss, "class_weight", 0) and mask_head.get("num_classes") is None:
        raise UserError(f"perception_loss.class_weight={loss.class_weight} needs mask_head.num_classes")
    return head, loss


def class_labels(layouts: Sequence[Layout], device: torch.device) -> list[Tensor] | None:
    """(N_i,) int64 labels of each layout; None where a layout has none."""
    if any(layout.labels is None for layout in layouts):
        return None
    return [layout.labels.to(device) for layout in layouts]


def masks_to_find(
    layouts: Sequence[Layout], labels: list[Tensor] | None, skip: Tensor, size: tuple[int, int]
) -> tuple[list[Tensor], list[Tensor] | None]:
    """Ground-truth masks and labels of a batch; none for the samples that ``skip`` names.

    Args:
        layouts: B layouts.
        labels: of :func:`class_labels`.
        skip: (B,) bool.
        size: rows and columns of the rectangles that stand for masks where a layout has none.
    """
    skip = skip.tolist()
    masks = [mask[:0] if none else mask for mask, none in zip(object_masks(list(layouts), *size), skip)]
    return masks, labels and [label[:0] if none else label for label, none in zip(labels, skip)]
