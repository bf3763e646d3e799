"""Running a list of steps in a folder that one run at a time may use."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.steps import Step, StepRunner
from detdiffusion.utils.threads import thread_count
from detdiffusion.utils.work_folder import claim_folder, try_lock


def claim(folder: Path, mark: str, option: str) -> IO[str]:
    """Lock a folder for this run; returns the locked file, which all commands of the run keep open.

    Args:
        folder: the folder; created if missing.
        mark: name of the file that marks folders of the tool.
        option: the tool's flag for the folder, for messages.

    Raises:
        UserError: the folder contains other files, or another run is using it.
    """
    claim_folder(folder, mark, option)
    lock = try_lock(folder / mark)
    if lock is None:
        raise UserError(f"another run, or a step of a killed one, is still at work in {folder}")
    return lock


def print_commands(steps: Iterable[Step]) -> None:
    """Print the command of each step, with its title as a comment."""
    for step in steps:
        print(f"# {step.title}\n{shlex.join(['python', *step.command])}")


def run_steps(
    steps: Iterable[Step],
    total: int,
    root: Path,
    folder: Path,
    lock: IO[str],
) -> tuple[dict[str, float], int]:
    """Run the steps that are not done, one after the other.

    Args:
        steps: the steps; an iterator may read the results of one step before it yields the next.
        total: their number, as far as it is known.
        root: working directory of the commands.
        folder: folder of stamps and logs.
        lock: see :func:`claim`.

    Returns:
        Seconds by name of the step, and the number of threads of the steps.

    Raises:
        UserError: a step failed.
    """
    threads = thread_count()
    runner = StepRunner(root, folder, {"OMP_NUM_THREADS": str(threads)}, keep_open=[lock.fileno()])
    print(f"{total} steps into {folder}, {threads} threads; logs in {folder / 'logs'}", flush=True)
    seconds = {}
    for number, step in enumerate(steps, 1):
        seconds[step.name] = runner.run(step, f"{number}/{max(number, total)}")
    return seconds, threads
