"""Cross-attention grounding: trains the cells of a box to attend to the tokens of its object.

Not in the paper. A UNet also learns the meaning of location tokens from the noise loss alone, but a small one needs
many thousand steps until it follows the boxes; supervising the attention directly is much faster. The loss needs only
the layout and adds nothing to the model.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detdiffusion.registry import MODELS
from detdiffusion.utils.errors import UserError


def covering_object(boxes: Tensor, h: int, w: int) -> Tensor:
    """Return (..., h, w) int64: the index of the smallest box that contains each cell's centre, or -1.

    Args:
        boxes: (..., N, 4) xyxy in [0, 1]; a box without area covers nothing.
        h, w: size of the grid.
    """
    if not boxes.shape[-2]:
        return torch.full((*boxes.shape[:-2], h, w), -1, dtype=torch.long, device=boxes.device)
    y = (torch.arange(h, device=boxes.device) + 0.5) / h
    x = (torch.arange(w, device=boxes.device) + 0.5) / w
    x1, y1, x2, y2 = (side[..., None] for side in boxes.unbind(-1))
    inside = ((y >= y1) & (y < y2))[..., :, None] & ((x >= x1) & (x < x2))[..., None, :]
    area = ((x2 - x1) * (y2 - y1))[..., None].expand(inside.shape).masked_fill(~inside, torch.inf)
    smallest, index = area.min(dim=-3)
    return torch.where(smallest.isinf(), -1, index)


def grounding_targets(
    spans: Sequence[Sequence[tuple[int, int]]], boxes: Sequence[Tensor], h: int, w: int, length: int
) -> Tensor:
    """Return (B, h * w, length) float32: 1 for each cell at the tokens of the object that covers it.

    All samples are computed together: on a GPU, a loop over objects would wait for each of them.

    Args:
        spans: for each sample, the (start, end) token ranges of its objects; an empty list leaves the sample out.
        boxes: one (N_i, 4) tensor per sample, in the order of the spans.
        h, w: size of the grid.
        length: number of tokens.
    """
    padded = torch.nn.utils.rnn.pad_sequence(list(boxes), batch_first=True)  # boxes without area at the end
    token_owner = torch.full((len(boxes), length), -2)  # no cell has it
    for owners, ranges in zip(token_owner, spans):
        for number, (start, end) in enumerate(ranges):
            owners[start:end] = number
    owner = covering_object(padded, h, w).flatten(1)
    return (owner[:, :, None] == token_owner.to(owner.device)[:, None]).float()


def attention_grounding(probabilities: Tensor, targets: Tensor, enough: float = 1.0) -> Tensor:
    """Return -log of a cell's attention to its object's tokens, averaged over each sample's cells and over samples.

    Args:
        probabilities: (B, heads, P, L) cross-attention.
        targets: (B, P, L), see :func:`grounding_targets`.
        enough: fraction of its attention above which a cell has zero loss.

    Returns:
        float32 scalar; a sample without a covered cell counts as 0.
    """
    attention = probabilities.float().mean(dim=1)  # (B, P, L)
    covered = targets.amax(dim=2)
    paid = (attention * targets).sum(dim=2)
    missing = -(covered * (paid / enough + 1e-4).clamp(max=1).log()).sum(dim=1)
    return (missing / covered.sum(dim=1).clamp(min=1)).mean()


@MODELS.register_module()
class AttentionGroundingLoss(nn.Module):
    """:func:`attention_grounding`, averaged over the layers whose grid is fine enough.

    Args:
        loss_weight: factor of the loss.
        min_size: layers whose grid has fewer cells than this on a side are left out.
        tokens: ``all`` tokens of an object, or the ``last`` one. The text encoder is causal, so only the last token
            (the attribute, if there is one) can encode everything about its object; a model that has learned to attend
            to the location tokens does not learn to use it within a few hundred steps.
        enough: fraction in (0, 1] of its attention above which a cell has zero loss.

    Raises:
        UserError: ``tokens`` or ``enough`` is not valid.
    """

    def __init__(
        self, loss_weight: float = 0.05, min_size: int = 4, tokens: str = "all", enough: float = 1.0
    ) -> None:
        super().__init__()
        if tokens not in ("all", "last") or not 0 < enough <= 1:
            raise UserError(
                f"AttentionGroundingLoss: tokens must be 'all' or 'last' and enough in (0, 1], got {tokens!r}, {enough}"
            )
        self.loss_weight, self.min_size, self.tokens, self.enough = loss_weight, min_size, tokens, enough

    def forward(
        self,
        probabilities: Sequence[Tensor],
        spans: Sequence[Sequence[tuple[int, int]]],
        boxes: Sequence[Tensor],
        latent_size: tuple[int, int],
    ) -> Tensor:
        """Compute the loss of a batch, with one tensor of ``probabilities`` per layer and latents of size (h, w).

        Raises:
            UserError: no layer has ``min_size`` cells per side.
        """
        if self.tokens == "last":
            spans = [[(end - 1, end) for _, end in ranges] for ranges in spans]
        losses, targets = [], {}  # layers of one size share their targets
        for layer in probabilities:
            h, w = latent_size
            while h * w > layer.shape[2]:
                h, w = (h + 1) // 2, (w + 1) // 2
            if min(h, w) >= self.min_size:
                if (h, w) not in targets:
                    on_device = [box.to(layer.device) for box in boxes]
                    targets[h, w] = grounding_targets(spans, on_device, h, w, layer.shape[3])
                losses.append(attention_grounding(layer, targets[h, w], self.enough))
        if not losses:
            raise UserError(
                f"AttentionGroundingLoss: no cross-attention layer has {self.min_size} cells per side at latents of "
                f"{latent_size[0]} x {latent_size[1]}; lower min_size"
            )
        return self.loss_weight * torch.stack(losses).mean()
