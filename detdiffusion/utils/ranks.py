"""Evaluation on several processes of one ``torchrun``: whole batches are dealt out, results come back in order.

A batch is never cut, so what a model computes for an image does not depend on the number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from .errors import UserError


def join_ranks() -> tuple[int, int]:
    """Joins the process group that torchrun's environment describes, over gloo; alone it does nothing.

    Gloo also where there are GPUs: what travels are results on the CPU.

    Returns:
        (rank, number of processes).

    Raises:
        UserError: the environment names several processes, but not how to reach them.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return 0, 1
    missing = [n for n in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if n not in os.environ]
    if missing:
        raise UserError(f"WORLD_SIZE is {world}, but {', '.join(missing)} is not set: start with torchrun")
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return dist.get_rank(), dist.get_world_size()


def rank_device(name: str | None) -> str | None:
    """The device of this process: ``name``, or its own GPU where torchrun started one process a GPU."""
    if name is not None or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return name
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{int(os.environ['LOCAL_RANK']) % count}" if count else None


def own_indices(count: int, batch_size: int) -> list[int]:
    """Indices out of ``range(count)`` that this process works on: every ``world``-th batch, whole."""
    own, world = _rank_and_world()
    starts = range(own * batch_size, count, world * batch_size)
    return [i for start in starts for i in range(start, min(start + batch_size, count))]


def gather_in_order(indices: Sequence[int], values: Sequence[Any]) -> list[Any]:
    """Values of all processes by rising index, on every process.

    Args:
        indices: of :func:`own_indices`.
        values: one for each index; any objects that pickle.
    """
    _, world = _rank_and_world()
    if world == 1:
        return list(values)
    import torch.distributed as dist

    parts: list = [None] * world
    dist.all_gather_object(parts, list(zip(indices, values)))
    return [value for _, value in sorted((pair for part in parts for pair in part), key=lambda pair: pair[0])]


def rank() -> int:
    """The number of this process, 0 for a single one."""
    return _rank_and_world()[0]


def is_main() -> bool:
    """Whether this process is the one that prints and writes."""
    return rank() == 0


def _rank_and_world() -> tuple[int, int]:
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()
