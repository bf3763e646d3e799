"""Running the steps of several folders at the same time, as far as they do not wait for each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import IO

from detdiffusion.utils.steps import Step, StepRunner, needed_steps
from detdiffusion.utils.threads import thread_count

_say = partial(print, flush=True)


@dataclass(frozen=True)
class FolderSteps:
    """The steps of a folder.

    Attributes:
        folder: folder of stamps and logs.
        lock: see :func:`.run_steps.claim`.
        steps: the steps in an executable order.
        finished: called with each finished step, one at a time, after the step's own ``after``.
    """

    folder: Path
    lock: IO[str]
    steps: Sequence[Step]
    finished: Callable[[Step], None] = lambda step: None


def run_parallel(
    works: Sequence[FolderSteps], workers: int, root: Path
) -> tuple[dict[Path, dict[str, float]], int]:
    """Run the steps that are not done. A step waits for those that write its inputs, and what the longest chain of
    others waits for is started first. The threads of this process's share of the machine are divided among the steps.

    Args:
        works: steps by folder.
        workers: number of steps at the same time.
        root: working directory of the commands.

    Returns:
        Seconds by name of the step, by folder, and the number of threads of each step.

    Raises:
        UserError: a step failed; no other was started after it, those at work were awaited, and every error is printed.
    """
    threads = max(1, thread_count() // workers)
    environment = dict.fromkeys(("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), str(threads))
    stop, start = threading.Event(), time.monotonic()
    total = sum(len(work.steps) for work in works)
    _say(f"{total} steps of {len(works)} folders, {workers} at a time, {threads} threads each")
    pending, ranks = {}, {}
    for work in works:
        runner = StepRunner(root, work.folder, environment, _say, [work.lock.fileno()], stop)
        needs = needed_steps(work.steps)
        ranks |= {(work.folder, name): rank for name, rank in chains_behind(needs).items()}
        pending |= {(work.folder, step.name): (work, step, runner, needs[step.name]) for step in work.steps}
    done, running, errors = {}, {}, []
    with ThreadPoolExecutor(workers) as pool:
        try:
            while running or (pending and not errors):
                ready = [
                    key
                    for key, (work, *_, needs) in pending.items()
                    if {(work.folder, n) for n in needs} <= done.keys()
                ]
                ready.sort(key=lambda key: -ranks[key])  # stable: then in the order of the folders
                for key in ready[: workers - len(running) if not errors else 0]:
                    work, step, runner, _ = pending.pop(key)
                    with _collected(errors):
                        # the key is computed here: configs must be read by one thread alone
                        alone = replace(step, after=lambda: None)
                        future = pool.submit(runner.run, alone, str(work.folder), runner.key(step))
                        running[future] = (key, work, step)
                for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                    key, work, step = running.pop(future)
                    with _collected(errors):
                        seconds = future.result()
                        step.after()  # in this thread, as the keys
                        done[key] = seconds
                        work.finished(step)
                        so_far = timedelta(seconds=round(time.monotonic() - start))
                        _say(f"{len(done)} of {total} steps are done after {so_far}")
        except BaseException:
            stop.set()
            raise
    if errors:
        raise errors[0]
    return {
        work.folder: {step.name: done[work.folder, step.name] for step in work.steps} for work in works
    }, threads


@contextmanager
def _collected(errors: list[Exception]) -> Iterator[None]:
    """Add an error to a list and print it, instead of raising it."""
    try:
        yield
    except Exception as error:
        errors.append(error)
        _say(str(error))


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
