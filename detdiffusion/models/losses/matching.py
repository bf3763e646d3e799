"""Assignment of queries to objects."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detdiffusion.utils.errors import NotFiniteError, UserError

ASSIGNERS = ("hungarian", "fixed")


def match_queries(
    cost: Tensor | None, counts: list[int], num_queries: int, assign: str = "hungarian"
) -> Tensor:
    """Assign each object of each sample to a different query.

    Args:
        cost: (B, Q, M) float costs, M >= max(counts); columns from ``counts[b]`` on are padding. Not used by
            ``'fixed'``.
        counts: number of objects of each sample.
        num_queries: Q.
        assign: ``'hungarian'`` minimises the total cost of each sample (SciPy); ``'fixed'`` assigns object j to query
            j, for a head whose queries are conditioned on the layout.

    Returns:
        (sum(counts),) int64 on the CPU: the query of each object, sample by sample, in the objects' order.

    Raises:
        UserError: ``assign`` is unknown, a sample has more objects than queries, or costs are not finite.
    """
    if assign not in ASSIGNERS:
        raise UserError(f"matching: assign must be one of {ASSIGNERS}, got {assign!r}")
    if max(counts, default=0) > num_queries:
        raise UserError(
            f"matching: sample {counts.index(max(counts))} of the batch has {max(counts)} masks, but the "
            f"mask head has {num_queries} queries; raise num_queries or lower the filter's max_objects"
        )
    if assign == "fixed":
        queries = [torch.arange(n) for n in counts]
    else:
        table = cost.detach().float().cpu().numpy()
        queries = [_hungarian(table[b, :, :n], b) for b, n in enumerate(counts) if n]
    return torch.cat(queries) if queries else torch.zeros(0, dtype=torch.long)


def _hungarian(cost, sample: int) -> Tensor:
    try:
        # Rows are objects: there are at least as many queries, so every row is assigned, and rows are sorted.
        return torch.from_numpy(linear_sum_assignment(cost.T)[1])
    except ValueError as error:
        raise NotFiniteError(
            f"matching: the mask costs of sample {sample} are not finite ({error}); the mask logits "
            "diverged: lower the learning rate or check the inputs"
        ) from error
