"""What torchrun tells a process by environment variables: its place among the others."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from .errors import UserError

_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_START = (
    "`torchrun --nproc_per_node N TOOL ...`, as `bash tools/dist_train.sh CONFIG GPUS` and "
    "`bash tools/dist_generate.sh CONFIG CHECKPOINT GPUS` do"
)


@dataclass(frozen=True)
class Torchrun:
    """The environment variables that torchrun sets for a process.

    Attributes:
        rank: index of this process, from 0 to ``world_size`` - 1.
        local_rank: index on this machine.
        world_size: number of processes on all machines.
        address, port: the rendezvous address of the processes.
    """

    rank: int
    local_rank: int
    world_size: int
    address: str
    port: int

    @classmethod
    def from_environment(cls) -> Torchrun:
        """Reads and checks the variables.

        Raises:
            UserError: if a variable is not set, not an integer, or out of range.
        """
        missing = [name for name in _VARIABLES if not os.environ.get(name)]
        if missing:
            raise UserError(f"torchrun's variables {', '.join(missing)} are not set: start with {_START}")

        def whole(name: str, low: int, high: int | None = None) -> int:
            text = os.environ[name]
            try:
                value = int(text)
            except ValueError:
                value = None
            if value is None or value < low or (high is not None and value > high):
                limits = f"of at least {low}" if high is None else f"from {low} to {high}"
                raise UserError(
                    f"the environment variable {name} must be a whole number {limits}, got {text!r}: unset it and "
                    f"start with {_START}"
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

    @classmethod
    def to_join(cls, launcher: str | None = None) -> Torchrun | None:
        """Return the torchrun that this process should join, or None if it works alone.

        Args:
            launcher: None joins if torchrun started several processes; 'pytorch' requires torchrun; 'none' works
                alone, with a warning if torchrun started several processes.

        Raises:
            UserError: if 'pytorch' is used without torchrun, or the environment sets several processes but not their
                rendezvous address.
        """
        if launcher == "none":
            _warn_of_several_processes()
            return None
        if launcher is None and (os.environ.get("WORLD_SIZE") or "1") == "1":
            return None
        return cls.from_environment()


def is_first_process() -> bool:
    """Return whether this is rank 0 or a single process; works before it joins and without torch."""
    return os.environ.get("RANK", "0") == "0"


def _warn_of_several_processes() -> None:
    """Warn on stderr if torchrun started several processes of a tool that was told to work alone."""
    size = os.environ.get("WORLD_SIZE", "1")
    if size.isdigit() and int(size) > 1 and is_first_process():
        print(
            f"warning: WORLD_SIZE is {size}, but --launcher is none: each of these {size} processes does all of the "
            "work by itself, in the same folder. Use --launcher pytorch to share the work, or unset WORLD_SIZE",
            file=sys.stderr,
            flush=True,
        )
