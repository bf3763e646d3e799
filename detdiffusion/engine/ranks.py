"""Ranks that share work and files, not gradients: what ``tools/generate.py --launcher pytorch`` runs on."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from ..utils.errors import UserError
from ..utils.ranks import Torchrun, device_of_rank, warn_if_not_joined

_T = TypeVar("_T")


class Ranks:
    """This process among those of a torchrun; one process alone where there is no launcher.

    The group is gloo on any device: all it does is wait and pass on small objects.

    Args:
        launcher: 'none', or 'pytorch' for torchrun's environment variables.

    Attributes:
        rank, local_rank, size: of this process; 0, 0 and 1 alone.

    Raises:
        UserError: 'pytorch' outside torchrun, or the launcher is not there any more.
    """

    def __init__(self, launcher: str = "none") -> None:
        self.rank, self.local_rank, self.size = 0, 0, 1
        self._group = self._parent = None
        if launcher == "none":
            warn_if_not_joined()
            return
        found = Torchrun.from_environment(
            "`bash tools/dist_generate.sh CONFIG CHECKPOINT GPUS` or `torchrun`"
        )
        self.rank, self.local_rank, self.size = found.rank, found.local_rank, found.world_size
        self._group = self._meet(lambda: _join(found))
        self._parent = os.getppid()

    def say(self, text: str) -> None:
        """Prints a line, on rank 0 alone."""
        if self.rank == 0:
            print(text, flush=True)

    def device(self, name: str | None) -> str | None:
        """The device that the user names, or this rank's own GPU, see :func:`..utils.ranks.device_of_rank`."""
        return device_of_rank(name, None if self._group is None else self.local_rank)

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

        if self.rank == 0:
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

    def total(self, counts: dict[str, int]) -> dict[str, int]:
        """Sums over all ranks of equally named counts; waits for every rank.

        Raises:
            UserError: another rank stopped.
        """
        if self._group is None:
            return counts
        import torch.distributed as dist

        gathered: list = [None] * self.size
        self._meet(lambda: dist.all_gather_object(gathered, counts, group=self._group))
        return {key: sum(one[key] for one in gathered) for key in counts}

    def check_launcher(self) -> None:
        """Stops a rank whose launcher was killed: nobody waits for it, and a new run may want the folder.

        Raises:
            UserError: the parent process is gone.
        """
        if self._group is not None and os.getppid() != self._parent:
            raise UserError("the launcher is gone: stopped after a batch; run again to continue")

    def close(self) -> None:
        """Leaves the group."""
        if self._group is not None:
            import torch.distributed as dist

            dist.destroy_process_group()
            self._group = None

    def _meet(self, together: Callable[[], _T]) -> _T:
        """A collective; the backend's error becomes one that a user can read."""
        try:
            return together()
        except RuntimeError as error:  # torch.distributed's errors are RuntimeErrors
            raise UserError(
                f"rank {self.rank}: another rank or the launcher stopped (its own message says why); what was written "
                f"is safe, run again to continue ({str(error).strip().splitlines()[0]})"
            ) from error


def _join(found: Torchrun):
    """The group of all ranks.

    Without a launcher there is nobody to meet, so the ranks give up soon. Once they have met, one waits for the
    slowest, days at most; a rank that died is torchrun's to notice.
    """
    import torch.distributed as dist

    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":  # torchrun listens before it starts a rank
        try:
            socket.create_connection((found.address, found.port), timeout=30).close()
        except OSError as error:
            raise UserError(
                f"the launcher at {found.address}:{found.port} is gone ({error}); run again"
            ) from error
    dist.init_process_group("gloo", timeout=timedelta(minutes=5))
    return dist.new_group(backend="gloo", timeout=timedelta(days=7))
