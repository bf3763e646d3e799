"""The ranks of a ``torchrun``: this process's place among them, work distribution and collectives.

Work is distributed in complete batches, so what a model computes for an image does not depend on the number of
processes. Only results on the CPU are exchanged, so the process group uses gloo on any device. Training uses mmengine's
process group, see :func:`detdiffusion.engine.launch.prepare_ranks`.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from .errors import UserError
from .torchrun import Torchrun

_T = TypeVar("_T")
_LEAVE_SECONDS = 5.0
"""How long the first rank waits for the others to leave: they have met before, unless one was stopped."""


class Ranks:
    """This process's rank in a torchrun, and collectives; ``Ranks()`` stands for a single process.

    Tools call :meth:`join` once; library code calls :meth:`current`.

    Args:
        place: place of this process in the torchrun; None for a single process.

    Attributes:
        rank, local_rank, size: rank of this process and world size; 0, 0 and 1 for a single process.
    """

    _joined: ClassVar[Ranks | None] = None
    _starts: ClassVar[int] = 0

    def __init__(self, place: Torchrun | None = None) -> None:
        self.rank, self.local_rank, self.size = 0, 0, 1
        self._group = self._parent = self._address = self._store = None
        self._meeting = None  # the store of a process group that this object started
        self._broken = False  # another rank stopped
        if place is not None:
            self._address = place.address
            self.rank, self.local_rank, self.size = place.rank, place.local_rank, place.world_size
            self._parent = os.getppid()
            self._group = self._meet(lambda: self._start_group(place))

    @classmethod
    def join(cls, launcher: str | None = None) -> Ranks:
        """Joins the other processes of the torchrun that this process is part of.

        Args:
            launcher: see :meth:`Torchrun.to_join`.

        Returns:
            This process's ranks; the same object if it has joined before.

        Raises:
            UserError: if the environment is invalid, or the launcher or another rank has stopped.
        """
        place = Torchrun.to_join(launcher)
        if place is None:
            return cls()
        if Ranks._joined is None:
            Ranks._joined = cls(place)
            atexit.register(Ranks._joined.close)
        return Ranks._joined

    @classmethod
    def current(cls) -> Ranks:
        """Return the ranks that this process has joined, or those of a single process."""
        return Ranks._joined or cls()

    @property
    def is_main(self) -> bool:
        """Whether this is the process that prints and writes files."""
        return self.rank == 0

    def print(self, text: str) -> None:
        """Prints a line on rank 0 only."""
        if self.is_main:
            print(text, flush=True)

    def device(self, name: str | None) -> str | None:
        """Return the user's device, or by default the GPU of this rank, see :func:`device_of_rank`."""
        return device_of_rank(name, None if self._group is None else self.local_rank)

    def own_indices(self, count: int, batch_size: int) -> list[int]:
        """Return the indices of ``range(count)`` that this rank works on: every ``size``-th batch."""
        starts = range(self.rank * batch_size, count, self.size * batch_size)
        return [i for start in starts for i in range(start, min(start + batch_size, count))]

    def claim(self, count: int) -> Iterator[int]:
        """Yield the indices of ``range(count)`` that this rank works on: the next one goes to the rank that asks first.

        Every index goes to one rank, so ranks that are faster, or have less to do for an index, work on more of them.
        All ranks must start to iterate before any can get an index, and must meet afterwards, for example in
        :meth:`total`: the first rank counts for all.

        Raises:
            UserError: if another rank stopped.
        """
        if self._group is None:
            yield from range(count)
            return
        counter = self._shared_counter()
        while (index := self._meet(lambda: counter.add("next", 1)) - 1) < count:
            yield index

    def _shared_counter(self):
        """Return a store whose numbers all ranks can increment."""
        import torch.distributed as dist

        if self.is_main:
            store = dist.TCPStore(self._address, 0, is_master=True, wait_for_workers=False)
        port = self.gather(store.port if self.is_main else None)[0]
        if not self.is_main:
            store = self._meet(lambda: dist.TCPStore(self._address, port, is_master=False))
        self._store = store  # the first rank's store must outlive the work of the others
        return store

    def gather(self, value: _T) -> list[_T]:
        """Gather a picklable object from every rank; every rank gets the list, in rank order.

        Raises:
            UserError: if another rank stopped.
        """
        if self._group is None:
            return [value]
        import torch.distributed as dist

        gathered: list = [None] * self.size
        self._meet(lambda: dist.all_gather_object(gathered, value, group=self._group))
        return gathered

    def gather_in_order(self, indices: Sequence[int], values: Sequence[Any]) -> list[Any]:
        """Gather the values of all ranks in ascending order of their indices; every rank gets the list.

        Args:
            indices: the indices of this rank, see :meth:`own_indices`.
            values: one picklable object per index.

        Raises:
            UserError: if another rank stopped.
        """
        pairs = [pair for part in self.gather(list(zip(indices, values))) for pair in part]
        return [value for _, value in sorted(pairs, key=lambda pair: pair[0])]

    def total(self, counts: dict[str, int]) -> dict[str, int]:
        """Sum counts over all ranks, key by key; waits for every rank.

        Raises:
            UserError: if another rank stopped.
        """
        gathered = self.gather(counts)
        return {key: sum(part[key] for part in gathered) for key in counts}

    def first_then_others(self, work: Callable[[], _T]) -> _T:
        """Call ``work()`` on rank 0, then on the other ranks; returns when all are done.

        Raises:
            UserError: on every rank, if rank 0's call raised it.
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
                raise UserError(f"rank 0 failed: {failure}")
            result = work()
        self._meet(lambda: dist.barrier(group=self._group))
        return result

    def check_launcher(self) -> None:
        """Stop this rank if its launcher was killed, because a new run may use the same folder.

        Raises:
            UserError: if the parent process is gone.
        """
        if self._group is not None and os.getppid() != self._parent:
            raise UserError("the launcher is gone: stopped after a batch; run again to continue")

    def close(self) -> None:
        """Leave the process group; does nothing in a single process."""
        if self._group is not None:
            import torch.distributed as dist

            if self._meeting is None:
                dist.destroy_process_group(self._group)
            else:
                self._leave()
            self._group = self._store = self._meeting = None
        if Ranks._joined is self:
            Ranks._joined = None

    def _leave(self) -> None:
        """Destroy the process group, on the first rank after the others did.

        With torch 2.6 the first rank otherwise hung in 15 of 100 runs of two ranks, with 2.15 in none of 150.
        """
        import torch.distributed as dist

        with contextlib.suppress(RuntimeError):  # the store goes with its process
            end = time.monotonic() + (0 if self._broken else _LEAVE_SECONDS)
            while self.is_main and self._meeting.add("left", 0) < self.size - 1 and time.monotonic() < end:
                time.sleep(0.01)
        dist.destroy_process_group()
        if not self.is_main:
            with contextlib.suppress(RuntimeError):
                self._meeting.add("left", 1)

    def _start_group(self, place: Torchrun):
        """Create the group of all ranks.

        The first connection has a short timeout, in case the launcher is gone. After that, ranks wait for the slowest
        one for up to days; torchrun detects ranks that died.
        """
        import torch.distributed as dist

        # torchrun opens its port before it starts a rank
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            try:
                socket.create_connection((place.address, place.port), timeout=30).close()
            except OSError as error:
                raise UserError(
                    f"the launcher at {place.address}:{place.port} is gone ({error}); run again"
                ) from error
        if not dist.is_initialized():
            store, rank, size = next(dist.rendezvous("env://", timeout=timedelta(minutes=5)))
            Ranks._starts += 1  # a torchrun's store outlives a group: each has its own keys
            self._meeting = dist.PrefixStore(f"detdiffusion/{Ranks._starts}", store)
            options = dict(store=self._meeting, rank=rank, world_size=size)
            dist.init_process_group("gloo", timeout=timedelta(minutes=5), **options)
        return dist.new_group(backend="gloo", timeout=timedelta(days=7))

    def _meet(self, together: Callable[[], _T]) -> _T:
        """Run a collective; converts the backend's error to a readable one."""
        try:
            return together()
        except RuntimeError as error:  # torch.distributed's errors are RuntimeErrors
            self._broken = True
            raise UserError(
                f"rank {self.rank}: another rank or the launcher stopped (its own message says why); what was written "
                f"is safe, run again to continue ({str(error).strip().splitlines()[0]})"
            ) from error


def device_of_rank(name: str | None, local_rank: int | None) -> str | None:
    """Return the device of a process: each rank gets its own GPU unless the user gives the index of one.

    Args:
        name: value of ``--device``; None and 'cuda' do not fix the index of the GPU.
        local_rank: index of the process on this machine; None for a single process.

    Returns:
        ``name``, or the process's GPU if the machine has any.
    """
    if local_rank is None or name not in (None, "cuda"):
        return name
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{local_rank % count}" if count else name
