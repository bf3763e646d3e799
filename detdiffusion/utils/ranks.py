"""The processes of one ``torchrun``: who this process is among them, and what they do together.

Whole batches are dealt out and never cut, so what a model computes for an image does not depend on the number of
processes. What travels are results on the CPU, so the group is gloo on any device. Training has mmengine's own group,
see :func:`detdiffusion.engine.launch.prepare_ranks`.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from .errors import UserError

_T = TypeVar("_T")
_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_START = (
    "`torchrun --nproc_per_node N TOOL ...`, as `bash tools/dist_train.sh CONFIG GPUS` and "
    "`bash tools/dist_generate.sh CONFIG CHECKPOINT GPUS` do"
)


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
    def from_environment(cls) -> Torchrun:
        """Reads and checks the variables.

        Raises:
            UserError: a variable is not set, is no whole number, or is out of range.
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
                    f"the environment variable {name} is {text!r}, but a whole number {limits} is wanted: unset it and "
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
        """The torchrun that this process takes part in, or None where it works alone.

        Args:
            launcher: None joins wherever torchrun started several processes; 'pytorch' requires torchrun; 'none'
                works alone, with a warning where torchrun started several processes.

        Raises:
            UserError: 'pytorch' outside torchrun, or an environment that names several processes but not how to
                reach them.
        """
        if launcher == "none":
            _warn_of_several_processes()
            return None
        if launcher is None and (os.environ.get("WORLD_SIZE") or "1") == "1":
            return None
        return cls.from_environment()


class Ranks:
    """This process among those of a torchrun; ``Ranks()`` is a process alone.

    Tools call :meth:`join` once; everything below them asks for :meth:`current`.

    Args:
        place: of this process; None where it is alone.

    Attributes:
        rank, local_rank, size: of this process; 0, 0 and 1 alone.
    """

    _joined: ClassVar[Ranks | None] = None

    def __init__(self, place: Torchrun | None = None) -> None:
        self.rank, self.local_rank, self.size = 0, 0, 1
        self._group = self._parent = None
        self._started = False
        if place is not None:
            self.rank, self.local_rank, self.size = place.rank, place.local_rank, place.world_size
            self._parent = os.getppid()
            self._group = self._meet(lambda: self._start_group(place))

    @classmethod
    def join(cls, launcher: str | None = None) -> Ranks:
        """Joins the other processes of the torchrun that this process is part of.

        Args:
            launcher: see :meth:`Torchrun.to_join`.

        Returns:
            This process's ranks: those that it joined before, if any.

        Raises:
            UserError: an environment that is wrong, or the launcher or another rank is not there any more.
        """
        place = Torchrun.to_join(launcher)
        if place is None:
            return cls()
        if Ranks._joined is None:
            Ranks._joined = cls(place)
        return Ranks._joined

    @classmethod
    def current(cls) -> Ranks:
        """The ranks that this process joined; alone where it joined none."""
        return Ranks._joined or cls()

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.rank == 0

    def say(self, text: str) -> None:
        """Prints a line, on rank 0 alone."""
        if self.is_main:
            print(text, flush=True)

    def device(self, name: str | None) -> str | None:
        """The device that the user names, or this rank's own GPU, see :func:`device_of_rank`."""
        return device_of_rank(name, None if self._group is None else self.local_rank)

    def own_indices(self, count: int, batch_size: int) -> list[int]:
        """Indices out of ``range(count)`` that this rank works on: every ``size``-th batch, whole."""
        starts = range(self.rank * batch_size, count, self.size * batch_size)
        return [i for start in starts for i in range(start, min(start + batch_size, count))]

    def gather(self, value: _T) -> list[_T]:
        """Every rank's value, in the order of the ranks, on every rank; any object that pickles.

        Raises:
            UserError: another rank stopped.
        """
        if self._group is None:
            return [value]
        import torch.distributed as dist

        gathered: list = [None] * self.size
        self._meet(lambda: dist.all_gather_object(gathered, value, group=self._group))
        return gathered

    def gather_in_order(self, indices: Sequence[int], values: Sequence[Any]) -> list[Any]:
        """Values of all ranks by rising index, on every rank.

        Args:
            indices: of :meth:`own_indices`.
            values: one for each index; any objects that pickle.

        Raises:
            UserError: another rank stopped.
        """
        pairs = [pair for part in self.gather(list(zip(indices, values))) for pair in part]
        return [value for _, value in sorted(pairs, key=lambda pair: pair[0])]

    def total(self, counts: dict[str, int]) -> dict[str, int]:
        """Sums over all ranks of equally named counts; waits for every rank.

        Raises:
            UserError: another rank stopped.
        """
        gathered = self.gather(counts)
        return {key: sum(one[key] for one in gathered) for key in counts}

    def first_then_others(self, work: Callable[[], _T]) -> _T:
        """``work()`` on rank 0, then on the others; returns when all are done.

        Raises:
            UserError: rank 0's, on every rank, where its work failed.
        """
        if self._group is None:
            return work()
        import torch.distributed as dist

        def tell(outcome: str | None) -> str | None:
            box = [outcome]
            self._meet(lambda: dist.broadcast_object_list(box, group=self._group))
            return box[0]

        if self.is_main:
            try:
                result = work()
            except UserError as error:
                tell(str(error))
                raise
            tell(None)
        else:
            if (failure := tell(None)) is not None:
                raise UserError(f"rank 0 says: {failure}")
            result = work()
        self._meet(lambda: dist.barrier(group=self._group))
        return result

    def check_launcher(self) -> None:
        """Stops a rank whose launcher was killed: nobody waits for it, and a new run may want the folder.

        Raises:
            UserError: the parent process is gone.
        """
        if self._group is not None and os.getppid() != self._parent:
            raise UserError("the launcher is gone: stopped after a batch; run again to continue")

    def close(self) -> None:
        """Leaves the group; a process alone has none."""
        if self._group is not None:
            import torch.distributed as dist

            dist.destroy_process_group(None if self._started else self._group)
            self._group = None
        if Ranks._joined is self:
            Ranks._joined = None

    def _start_group(self, place: Torchrun):
        """The group of all ranks.

        Without a launcher there is nobody to meet, so the ranks give up soon. Once they have met, one waits for the
        slowest, days at most; a rank that died is torchrun's to notice.
        """
        import torch.distributed as dist

        if (
            os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        ):  # torchrun listens before it starts a rank
            try:
                socket.create_connection((place.address, place.port), timeout=30).close()
            except OSError as error:
                raise UserError(
                    f"the launcher at {place.address}:{place.port} is gone ({error}); run again"
                ) from error
        if not dist.is_initialized():
            dist.init_process_group("gloo", timeout=timedelta(minutes=5))
            self._started = True
        return dist.new_group(backend="gloo", timeout=timedelta(days=7))

    def _meet(self, together: Callable[[], _T]) -> _T:
        """A collective; the backend's error becomes one that a user can read."""
        try:
            return together()
        except RuntimeError as error:  # torch.distributed's errors are RuntimeErrors
            raise UserError(
                f"rank {self.rank}: another rank or the launcher stopped (its own message says why); what was written "
                f"is safe, run again to continue ({str(error).strip().splitlines()[0]})"
            ) from error


def is_first_process() -> bool:
    """Whether torchrun gave this process the number 0, or none: known before it joins, and without torch."""
    return os.environ.get("RANK", "0") == "0"


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


def _warn_of_several_processes() -> None:
    """A line on stderr where torchrun started several processes of a tool that was told to work alone."""
    size = os.environ.get("WORLD_SIZE", "1")
    if size.isdigit() and int(size) > 1 and is_first_process():
        print(
            f"warning: WORLD_SIZE is {size}, but --launcher is none: each of these {size} processes does all of the "
            "work by itself, into the same folder. Give --launcher pytorch to share it, or unset WORLD_SIZE",
            file=sys.stderr,
            flush=True,
        )
