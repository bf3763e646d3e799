"""The perception-aware loss: Eq. 4 and the lambda of Eq. 5."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from detdiffusion.models.losses.mask_losses import mask_bce, mask_dice, pairwise_mask_bce, pairwise_mask_dice
from detdiffusion.models.losses.matching import ASSIGNERS, match_queries
from detdiffusion.registry import MODELS
from detdiffusion.utils.errors import UserError


def resize_masks(masks: list[Tensor], h: int, w: int, soft: bool = True) -> Tensor:
    """Resize masks to the size of the logits, as targets.

    By area interpolation: a cell's value is the fraction of it that the mask covers, so thin objects do not vanish.

    Args:
        masks: one (N_i, H_i, W_i) bool or float tensor per sample.
        h: rows.
        w: columns.
        soft: keep the fractions; False thresholds them at 0.5.

    Returns:
        (sum(N_i), h, w) float32 in [0, 1], sample by sample.
    """
    filled = [m for m in masks if len(m)]
    if not filled:
        return torch.zeros(0, h, w, device=masks[0].device)
    if len({m.shape[-2:] for m in filled}) == 1:
        filled = [torch.cat(filled)]  # the usual case: one call for the batch
    shares = torch.cat([F.interpolate(m[None].float(), size=(h, w), mode="area")[0] for m in filled])
    return shares if soft else (shares >= 0.5).float()


@MODELS.register_module()
class PerceptionAwareLoss(nn.Module):
    """lambda * sqrt(alpha_bar_t) * (mask BCE + dice) of matched masks, in fp32.

    The mask losses of a sample are averaged over its masks and weighted by its noise level; the loss is the mean over
    the batch. A sample without masks counts as 0 but stays connected to the graph, so that every parameter of the head
    gets a gradient in DDP. To leave samples out (for example those with null text), pass no masks for them.

    Args:
        loss_weight: lambda of Eq. 5.
        use_mask: the BCE term.
        use_dice: the dice term.
        weight_by: ``'sqrt_alpha_bar'``, or None for equal weights at all noise levels.
        assign: ``'hungarian'`` (SciPy, with the losses as costs) or ``'fixed'`` (object j to query j, for a mask head
            whose queries are conditioned on the layout).
        class_weight: weight of a cross-entropy over the queries, 0 for none as in the paper; it needs a head with
            ``num_classes``, whose last class logit means "no object".
        no_object_weight: weight of unmatched queries in that cross-entropy.
        soft_targets: see :func:`resize_masks`.

    Raises:
        UserError: an option is unknown, or no term is enabled.
    """

    def __init__(
        self,
        loss_weight: float = 0.01,
        use_mask: bool = True,
        use_dice: bool = True,
        weight_by: str | None = "sqrt_alpha_bar",
        assign: str = "hungarian",
        class_weight: float = 0.0,
        no_object_weight: float = 0.1,
        soft_targets: bool = True,
    ) -> None:
        super().__init__()
        if weight_by not in ("sqrt_alpha_bar", None):
            raise UserError(
                f"PerceptionAwareLoss: weight_by must be 'sqrt_alpha_bar' or None, got {weight_by!r}"
            )
        if assign not in ASSIGNERS:
            raise UserError(f"PerceptionAwareLoss: assign must be one of {ASSIGNERS}, got {assign!r}")
        if not (use_mask or use_dice):
            raise UserError(
                "PerceptionAwareLoss: use_mask and use_dice are both False; remove perception_loss instead"
            )
        self.loss_weight = loss_weight
        self.use_mask = use_mask
        self.use_dice = use_dice
        self.weight_by = weight_by
        self.assign = assign
        self.class_weight = class_weight
        self.no_object_weight = no_object_weight
        self.soft_targets = soft_targets

    def forward(
        self,
        mask_logits: Tensor,
        masks: list[Tensor],
        sqrt_alpha_bar: Tensor | None = None,
        class_logits: Tensor | None = None,
        labels: list[Tensor] | None = None,
    ) -> Tensor:
        """Compute the loss of a batch.

        Args:
            mask_logits: (B, Q, h, w) float.
            masks: one (N_i, H, W) bool tensor per sample, N_i <= Q.
            sqrt_alpha_bar: (B,) float in [0, 1]; not needed with ``weight_by=None``.
            class_logits: (B, Q, classes + 1), only with ``class_weight``.
            labels: one (N_i,) int64 tensor per sample, only with ``class_weight``.

        Returns:
            float32 scalar.

        Raises:
            UserError: batch sizes differ, an input that an option needs is missing, or there are more masks than
                queries.
        """
        self._check(mask_logits, masks, sqrt_alpha_bar, class_logits, labels)
        with torch.autocast(mask_logits.device.type, enabled=False):
            logits = mask_logits.float()
            device = logits.device
            counts = [len(m) for m in masks]
            # Zeros that keep every parameter in the graph, where no term of the loss does.
            zero = logits.new_zeros(()) if sum(counts) else logits.sum() * 0
            if class_logits is not None and not (self.class_weight and sum(counts)):
                zero = zero + class_logits.float().sum() * 0
            if sum(counts) == 0:
                return zero
            targets = resize_masks(
                [m.to(device) for m in masks], *logits.shape[-2:], self.soft_targets
            ).flatten(1)
            cost = None
            if self.assign == "hungarian":
                cost = self._cost(logits.detach().flatten(2), targets, counts, class_logits, labels)
            query = match_queries(cost, counts, logits.shape[1], self.assign).to(device)

            numbers = torch.tensor(counts, device=device)
            sample = torch.repeat_interleave(torch.arange(len(counts), device=device), numbers)
            matched = logits[sample, query].flatten(1)
            pair_loss = matched.new_zeros(len(matched))
            if self.use_mask:
                pair_loss = pair_loss + mask_bce(matched, targets)
            if self.use_dice:
                pair_loss = pair_loss + mask_dice(matched, targets)
            loss = logits.new_zeros(len(counts)).index_add(0, sample, pair_loss) / numbers.clamp(min=1)
            if self.class_weight:
                loss = loss + self.class_weight * self._class_loss(
                    class_logits, labels, sample, query, numbers
                )
            if self.weight_by is not None:
                loss = loss * sqrt_alpha_bar.to(device).float()
            return self.loss_weight * loss.mean() + zero

    def _cost(
        self,
        logits: Tensor,
        targets: Tensor,
        counts: list[int],
        class_logits: Tensor | None,
        labels: list[Tensor] | None,
    ) -> Tensor:
        """Return the (B, Q, M) cost of every pair: the terms of the loss, with -probability as the class term."""
        with torch.no_grad():
            padded = pad_sequence(targets.split(counts), batch_first=True)
            cost = logits.new_zeros(())
            if self.use_mask:
                cost = cost + pairwise_mask_bce(logits, padded)
            if self.use_dice:
                cost = cost + pairwise_mask_dice(logits, padded)
            if self.class_weight:
                index = pad_sequence([x.to(logits.device) for x in labels], batch_first=True)
                index = index[:, None].expand(-1, logits.shape[1], -1)
                cost = cost - self.class_weight * class_logits.float().softmax(-1).gather(2, index)
            return cost

    def _class_loss(
        self, class_logits: Tensor, labels: list[Tensor], sample: Tensor, query: Tensor, numbers: Tensor
    ) -> Tensor:
        """Return the (B,) weighted mean cross-entropy over each sample's queries; 0 for a sample without objects."""
        logits = class_logits.float()
        no_object = logits.shape[-1] - 1
        target = torch.full(logits.shape[:2], no_object, device=logits.device)
        target[sample, query] = torch.cat([x.to(logits.device) for x in labels])
        weight = torch.where(target == no_object, self.no_object_weight, 1.0)
        entropy = F.cross_entropy(logits.transpose(1, 2), target, reduction="none")
        return (entropy * weight).sum(1) / weight.sum(1) * (numbers > 0)

    def _check(
        self,
        mask_logits: Tensor,
        masks: list[Tensor],
        sqrt_alpha_bar: Tensor | None,
        class_logits: Tensor | None,
        labels: list[Tensor] | None,
    ) -> None:
        if len(masks) != len(mask_logits):
            raise UserError(
                f"PerceptionAwareLoss: {len(mask_logits)} samples of logits but {len(masks)} of masks"
            )
        if self.weight_by is not None and (sqrt_alpha_bar is None or len(sqrt_alpha_bar) != len(mask_logits)):
            raise UserError(
                f"PerceptionAwareLoss: weight_by='sqrt_alpha_bar' needs {len(mask_logits)} values, got "
                f"{None if sqrt_alpha_bar is None else len(sqrt_alpha_bar)}"
            )
        if not self.class_weight:
            return
        if class_logits is None or labels is None:
            raise UserError(
                "PerceptionAwareLoss: class_weight needs class_logits (mask head: num_classes) and labels"
            )
        for i, (mask, label) in enumerate(zip(masks, labels)):
            if len(mask) != len(label):
                raise UserError(
                    f"PerceptionAwareLoss: sample {i} has {len(mask)} masks but {len(label)} labels"
                )
