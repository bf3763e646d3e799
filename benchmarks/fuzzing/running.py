"""Run a tool in a fork of this process, which has imported everything, or by the real command line."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

from .case import Run

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 60.0
LIMIT_BYTES = 24 << 30  # address space: an image of 10^12 pixels gives a MemoryError
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}


def load_main(tool: str) -> Callable[[], None]:
    """Return the main function of a file in ``tools/``, which reads its arguments from ``sys.argv``."""
    spec = importlib.util.spec_from_file_location("tool_" + Path(tool).stem, ROOT / "tools" / tool)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def main() -> None:
        module.main(module.build_parser().parse_args())

    return main


def run_forked(
    main: Callable[[], None], arguments: list[str], folder: Path, seconds: float = LIMIT_SECONDS
) -> Run:
    """Call ``main`` in a fork as :func:`detdiffusion.utils.cli.run_main` does, without side effects here.

    Args:
        main: main function of a tool.
        arguments: command-line arguments.
        folder: the working folder; printed output is written to ``output.txt`` in it.
        seconds: time limit, after which it is killed.
    """
    sys.stdout.flush(), sys.stderr.flush()
    log = folder / "output.txt"
    begin = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads of an imported library
        child = os.fork()
    if child == 0:
        _in_child(main, arguments, folder, log)
    status, hung = _wait(child, begin + seconds), False
    if status is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        status, hung = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), True
    return Run(status, log.read_text(encoding="utf-8", errors="replace"), time.monotonic() - begin, hung)


def run_command(tool: str, arguments: list[str], folder: Path, seconds: float = LIMIT_SECONDS) -> Run:
    """Run the real command line in a separate process."""
    log, begin = folder / "output.txt", time.monotonic()
    environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": f"{ROOT}:{ROOT / 'benchmarks'}"}
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "tools" / tool), *arguments],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_limit_memory,
        )
        try:
            status, hung = process.wait(seconds), False
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            status, hung = process.wait(), True
    return Run(status, log.read_text(encoding="utf-8", errors="replace"), time.monotonic() - begin, hung)


def prepare_process() -> None:
    """Prepare the process that forks: one thread, no hub, and no garbage collector that copies pages in forks."""
    os.environ.update(_ENVIRONMENT)
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


def _in_child(main, arguments: list[str], folder: Path, log: Path) -> None:
    status = 1
    try:
        os.setsid()
        _limit_memory()
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (sink, 1), (sink, 2)):
            os.dup2(source, target)
        sys.stdout, sys.stderr = (
            open(fd, "w", encoding="utf-8", errors="replace", closefd=False) for fd in (1, 2)
        )
        os.chdir(folder)
        sys.argv = ["tool", *arguments]
        from detdiffusion.utils.cli import run_main

        run_main(main)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


def _wait(child: int, end: float) -> int | None:
    """Return the exit status, or None after the time limit."""
    pause = 0.002
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(0.05, pause * 1.3)
    return None


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
