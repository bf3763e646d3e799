"""The device that a user names, or the best one there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import UserError

if TYPE_CHECKING:
    import torch


def choose_device(name: str | None) -> torch.device:
    """A device that works.

    Args:
        name: None takes CUDA where it is available, else the CPU.

    Raises:
        UserError: no such device, or one that this machine lacks.
    """
    import torch

    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        here = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise UserError(
            f"`device` {name}: no such device; this machine has {', '.join(['cpu', *here])} "
            f"({str(error).splitlines()[0]})"
        ) from error
    return device
