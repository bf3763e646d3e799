"""The processes of one ``torchrun``: their environment, checked; and whole batches dealt out among them.

A batch is never cut, so what a model computes for an image does not depend on the number of processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .errors import UserError

_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Torchrun:
    """What torchrun tells a process by its environment variables.

    Attributes:
        rank: number of this process, from 0 to ``world_size`` - 1.
        local_rank: its number on this machine.
        world_size: number of processes on all machines.
        address, port: where the processes meet.
    """

    rank: int
    local_rank: int
    world_size: int
    address: str
    port: int

    @classmethod
    def from_environment(cls, start: str) -> Torchrun:
        """Reads and checks the variables.

        Args:
            start: how a user starts this tool on several processes, for messages.

        Raises:
            UserError: a variable is not set, is no whole number, or is out of range.
        """
        missing = [name for name in _VARIABLES if not os.environ.get(name)]
        if missing:
            raise UserError(f"torchrun's variables {', '.join(missing)} are not set: start with {start}")

        def whole(name: str, low: int, high: int | None = None) -> int:
            text = os.environ[name]
            try:
                value = int(text)
            except ValueError:
                value = None
            if value is None or value < low or (high is not None and value > high):
                limits = f"of at least {low}" if high is None else f"from {low} to {high}"
                raise UserError(
                    f"the environment variable {name} is {text!r}, but a whole number {limits} is wanted: unset it and "
                    f"start with {start}"
                )
            return value

        world_size = whole("WORLD_SIZE", 1)
        return cls(
            rank=whole("RANK", 0, world_size - 1),
            local_rank=whole("LOCAL_RANK", 0, world_size - 1),
            world_size=world_size,
            address=os.environ["MASTER_ADDR"],
            port=whole("MASTER_PORT", 1, 65535),
        )


def warn_if_not_joined() -> None:
    """A line on stderr where torchrun started several processes of a tool that was not told of it."""
    size = os.environ.get("WORLD_SIZE", "1")
    if size.isdigit() and int(size) > 1 and os.environ.get("RANK", "0") == "0":
        print(
            f"warning: WORLD_SIZE is {size}, but --launcher is none: each of these {size} processes does all of the "
            "work by itself, into the same folder. Give --launcher pytorch to share it, or unset WORLD_SIZE",
            file=sys.stderr,
            flush=True,
        )


def join_ranks() -> tuple[int, int]:
    """Joins the process group that torchrun's environment describes, over gloo; alone it does nothing.

    Gloo also where there are GPUs: what travels are results on the CPU.

    Returns:
        (rank, number of processes).

    Raises:
        UserError: the environment names several processes, but not how to reach them, see :class:`Torchrun`.
    """
    if (os.environ.get("WORLD_SIZE") or "1") == "1":
        return 0, 1
    Torchrun.from_environment("`torchrun --nproc_per_node N`")
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return dist.get_rank(), dist.get_world_size()


def rank_device(name: str | None) -> str | None:
    """The device of this process of :func:`join_ranks`, see :func:`device_of_rank`."""
    return device_of_rank(name, None if _rank_and_world()[1] == 1 else int(os.environ["LOCAL_RANK"]))


def device_of_rank(name: str | None, local_rank: int | None) -> str | None:
    """The device of a process: each of several has a GPU of its own unless one is named by its number.

    Args:
        name: as ``--device`` gives it; None and 'cuda' leave the number of the GPU open.
        local_rank: the number of the process on this machine; None for a process alone.

    Returns:
        ``name``, or the process's GPU where there are any.
    """
    if local_rank is None or name not in (None, "cuda"):
        return name
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{local_rank % count}" if count else name


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
