"""Device selection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import UserError

if TYPE_CHECKING:
    import torch


def choose_device(name: str | None) -> torch.device:
    """Return a device after checking that it works.

    Args:
        name: a torch device; None selects CUDA if available, else the CPU.

    Raises:
        UserError: if there is no such device on this machine.
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
