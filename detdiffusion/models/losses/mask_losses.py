"""Mask losses, and the same losses for all pairs of queries and masks.

Shapes: B samples, Q queries, M masks (padded), K matched pairs, P = h * w cells.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mask_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the binary cross-entropy with logits, averaged over the cells.

    Args:
        logits: (K, P) float.
        targets: (K, P) float in [0, 1]; soft values are coverages.

    Returns:
        (K,) losses >= 0.
    """
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(-1)


def mask_dice(logits: Tensor, targets: Tensor, smooth: float = 1.0) -> Tensor:
    """Dice loss ``1 - (2 <p, t> + s) / (|p| + |t| + s)`` with p = sigmoid(logits), as in MaskFormer and
    DatasetDM.

    Args:
        logits: (K, P) float.
        targets: (K, P) float in [0, 1].
        smooth: s, keeps the loss of an empty mask finite.

    Returns:
        (K,) losses in [0, 1].
    """
    p = logits.sigmoid()
    return 1 - (2 * (p * targets).sum(-1) + smooth) / (p.sum(-1) + targets.sum(-1) + smooth)


def pairwise_mask_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """:func:`mask_bce` of every query with every mask: (B, Q, P) and (B, M, P) -> (B, Q, M).

    BCE is ``softplus(x) - x t``, so one matrix product gives all pairs.
    """
    crossed = torch.einsum("bqp,bmp->bqm", logits, targets)
    return (F.softplus(logits).sum(-1, keepdim=True) - crossed) / logits.shape[-1]


def pairwise_mask_dice(logits: Tensor, targets: Tensor, smooth: float = 1.0) -> Tensor:
    """:func:`mask_dice` of every query with every mask: (B, Q, P) and (B, M, P) -> (B, Q, M)."""
    p = logits.sigmoid()
    overlap = torch.einsum("bqp,bmp->bqm", p, targets)
    total = p.sum(-1, keepdim=True) + targets.sum(-1)[:, None]
    return 1 - (2 * overlap + smooth) / (total + smooth)
