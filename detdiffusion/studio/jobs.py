"""A queue of requests with one worker: progress, cancelling, and the results of the last ones."""

from __future__ import annotations

import secrets
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from detdiffusion.utils.cli import user_message
from detdiffusion.utils.errors import UserError, first_line

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"


class Cancelled(Exception):
    """Raised in the worker to stop a job."""


class UnknownJob(UserError):
    """There is no job with this id, or its results were removed."""


@dataclass
class Job:
    """One request.

    Attributes:
        request: what is asked for.
        key: an id that nobody can guess; who has it may see the job.
        state: queued, running, done, failed or cancelled.
        step, steps: progress while it runs; 0 of 0 before the first step.
        result: what the work returned, once it is done.
        error: why it failed, in words for the user.
        seen: monotonic time at which somebody last asked for it.
    """

    request: Any
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: str = QUEUED
    step: int = 0
    steps: int = 0
    result: Any = None
    error: str = ""
    seen: float = field(default_factory=time.monotonic)

    @property
    def finished(self) -> bool:
        return self.state in (DONE, FAILED, CANCELLED)


class JobQueue:
    """Runs jobs one after the other in a thread.

    Args:
        work: called with a request and ``on_step(done, total)``; returns the result. ``on_step`` raises
            :class:`Cancelled` to stop it.
        most_waiting: number of jobs that may wait.
        most_kept: number of finished jobs whose results are kept.
        patience: seconds after which a job that nobody asks for is cancelled, because its page was closed.
    """

    def __init__(
        self,
        work: Callable[[Any, Callable[[int, int], None]], Any],
        most_waiting: int = 32,
        most_kept: int = 64,
        patience: float = 180.0,
    ) -> None:
        self._work, self._patience = work, patience
        self._most_waiting, self._most_kept = most_waiting, most_kept
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="studio-worker", daemon=True)
        self._thread.start()

    def submit(self, request: Any) -> Job:
        """Append a request to the queue.

        Raises:
            UserError: the queue is full.
        """
        with self._changed:
            if len(self._waiting()) >= self._most_waiting:
                raise UserError(f"{self._most_waiting} requests are waiting already; try again later")
            job = Job(request)
            self._jobs[job.key] = job
            self._forget_old()
            self._changed.notify_all()
        return job

    def get(self, key: str) -> Job:
        """Return a job, and note that somebody asks for it.

        Raises:
            UnknownJob: there is no such job, or it is too old.
        """
        with self._changed:
            if key not in self._jobs:
                raise UnknownJob("these images are no longer there: generate them again")
            self._jobs[key].seen = time.monotonic()
            return self._jobs[key]

    def position(self, job: Job) -> int:
        """Return how many jobs run or wait before this one."""
        with self._changed:
            if job.state != QUEUED:
                return 0
            running = any(other.state == RUNNING for other in self._jobs.values())
            return running + self._waiting().index(job)

    def cancel(self, key: str) -> Job:
        """Cancel a job; one that runs stops after its current step.

        Raises:
            UnknownJob: as :meth:`get`.
        """
        job = self.get(key)
        with self._changed:
            if not job.finished:
                job.state = CANCELLED
        return job

    def close(self, timeout: float | None = 30.0) -> None:
        """Cancel all jobs and wait for the worker."""
        with self._changed:
            self._closed = True
            for job in self._jobs.values():
                if not job.finished:
                    job.state = CANCELLED
            self._changed.notify_all()
        self._thread.join(timeout)

    def _waiting(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.state == QUEUED]

    def _forget_old(self) -> None:
        finished = [key for key, job in self._jobs.items() if job.finished]
        for key in finished[: -self._most_kept]:
            del self._jobs[key]

    def _run(self) -> None:
        while (job := self._next()) is not None:
            self._finish(job)

    def _next(self) -> Job | None:
        with self._changed:
            while not self._closed:
                for job in self._waiting():
                    if self._abandoned(job):
                        job.state = CANCELLED
                        continue
                    job.state = RUNNING
                    return job
                self._changed.wait()
        return None

    def _finish(self, job: Job) -> None:
        def on_step(done: int, total: int) -> None:
            job.step, job.steps = done, total
            if job.state == CANCELLED or self._abandoned(job):
                raise Cancelled

        try:
            result, state, error = self._work(job.request, on_step), DONE, ""
        except Cancelled:
            result, state, error = None, CANCELLED, ""
        except UserError as failure:
            result, state, error = None, FAILED, user_message(failure)
        except Exception as failure:  # a bug must not end the server
            traceback.print_exc()
            result, state = None, FAILED
            error = (
                f"internal error: {type(failure).__name__}: {first_line(failure)} (the terminal shows where)"
            )
        with self._changed:
            if job.state != CANCELLED:
                job.result, job.state, job.error = result, state, error

    def _abandoned(self, job: Job) -> bool:
        return time.monotonic() - job.seen > self._patience
