"""Running the steps of several folders at the same time, as far as they do not wait for each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO

from detdiffusion.utils.steps import Step, StepRunner
from detdiffusion.utils.threads import thread_count


@dataclass(frozen=True)
class FolderSteps:
    """The steps of a folder.

    Attributes:
        folder: folder of stamps and logs.
        lock: see :func:`.run_steps.claim`.
        steps: the steps in an executable order.
        finished: called with each finished step, one at a time.
    """

    folder: Path
    lock: IO[str]
    steps: Sequence[Step]
    finished: Callable[[Step], None]


def run_parallel(works: Sequence[FolderSteps], workers: int, root: Path) -> None:
    """Run the steps that are not done; a step waits for those that write its inputs, and what most others wait for is
    started first. The threads of this process's share of the machine are divided among the steps.

    Args:
        works: steps by folder.
        workers: number of steps at the same time.
        root: working directory of the commands.

    Raises:
        UserError: a step failed; no other was started after it, and those at work were awaited.
    """
    threads = max(1, thread_count() // workers)
    stop, start = threading.Event(), time.monotonic()
    total = sum(len(work.steps) for work in works)
    print(f"{total} steps of {len(works)} folders, {workers} at a time, {threads} threads each", flush=True)
    pending, ranks = {}, {}
    for work in works:
        runner = StepRunner(
            root,
            work.folder,
            {"OMP_NUM_THREADS": str(threads)},
            say=lambda _: None,
            keep_open=[work.lock.fileno()],
            stop=stop,
        )
        needs = needed_steps(work.steps)
        ranks |= {(work.folder, name): rank for name, rank in chains_behind(needs).items()}
        pending |= {(work.folder, step.name): (work, step, runner, needs[step.name]) for step in work.steps}
    done, running = set(), {}
    error: BaseException | None = None
    with ThreadPoolExecutor(workers) as pool:
        try:
            while running or (pending and error is None):
                ready = [
                    key
                    for key, (work, *_, needs) in pending.items()
                    if {(work.folder, n) for n in needs} <= done
                ]
                ready.sort(key=lambda key: -ranks[key])  # stable: then in the order of the folders
                for key in ready[: workers - len(running) if error is None else 0]:
                    work, step, runner, _ = pending.pop(key)
                    running[pool.submit(runner.run, step)] = (key, work, step)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    key, work, step = running.pop(future)
                    error = error or _end(future, f"{work.folder} {step.name}", len(done) + 1, total, start)
                    if future.exception() is None:
                        done.add(key)
                        work.finished(step)
        except BaseException:
            stop.set()
            raise
    if error is not None:
        raise error


def needed_steps(steps: Sequence[Step]) -> dict[str, set[str]]:
    """Return the names of the steps that write the inputs of each step, by its name."""
    maker = {path: step.name for step in steps for path in step.outputs}
    return {step.name: {maker[path] for path in step.inputs if path in maker} for step in steps}


def chains_behind(needs: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the length of the longest chain of steps that wait for each step.

    Args:
        needs: name -> names of the steps that it waits for, in an executable order.
    """
    found = dict.fromkeys(needs, 0)
    for name in reversed(needs):
        for other in needs[name]:
            found[other] = max(found[other], found[name] + 1)
    return found


def _end(future: Future, name: str, number: int, total: int, start: float) -> BaseException | None:
    """Print how a step ended; returns its error."""
    error = future.exception()
    result = "failed" if error else f"{future.result():.0f} s"
    so_far = timedelta(seconds=round(time.monotonic() - start))
    print(f"[{number}/{total}] {name}: {result} ({so_far} so far)", flush=True)
    return error
