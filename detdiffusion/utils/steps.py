"""A pipeline of commands that does not repeat finished steps.

Every step writes a stamp, ``STAMPS/NAME.json``, with its command, its duration and a key: a digest of the command, of
the resolved configs and of the bytes of its input files. A step is done if its stamp has the same key and its outputs
exist. A change of a command, a config or an input file therefore reruns exactly the steps that depend on it. A change
of the library's code does not, since every edited line would repeat an hour of training; but the stamp records a digest
of the code, and a finished step reports if it differs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .digests import code_digest, config_digest, file_digest
from .errors import UserError
from .files import write_atomic

_SHOWN = 15  # lines of a failed command
_LOG_PREFIX = re.compile(r"^\S+ \S+ - mmengine - \w+ - ")


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: name of the stamp and the log; unique in a pipeline.
        title: description for the user.
        command: arguments after the Python interpreter, e.g. ``("tools/train.py", CONFIG)``.
        configs: config files whose resolved content counts as input.
        inputs: files whose bytes count as input.
        outputs: files that must exist afterwards.
        remove: files and folders that only this step writes; removed before it starts from scratch, but kept if it was
            interrupted and its key is unchanged, so that it can resume.
        after: called once it is finished, also if it was before; may raise an error, with which the pipeline ends.
    """

    name: str
    title: str
    command: tuple[str, ...]
    configs: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    remove: tuple[Path, ...] = ()
    after: Callable[[], None] = lambda: None


def needed_steps(steps: Sequence[Step]) -> dict[str, set[str]]:
    """Return the names of the steps before each step that write its inputs, by its name."""
    maker: dict[Path, str] = {}
    found = {}
    for step in steps:
        found[step.name] = {maker[path] for path in step.inputs if path in maker}
        maker |= dict.fromkeys(step.outputs, step.name)
    return found


class StepRunner:
    """Runs steps as subprocesses.

    Args:
        root: working directory of the commands; relative config paths are resolved against it.
        folder: parent folder of ``stamps/`` and ``logs/``.
        environment: additional environment variables for the commands.
        say: function that prints a line for the user.
        keep_open: file descriptors that the commands inherit (a file lock is held until all of them are closed).
        stop: once set, by another thread, it interrupts the running step; None for a runner that shows the latest line
            of its step, because no other step is at work.
    """

    def __init__(
        self,
        root: Path,
        folder: Path,
        environment: dict[str, str] | None = None,
        say: Callable[[str], None] = print,
        keep_open: Sequence[int] = (),
        stop: threading.Event | None = None,
    ) -> None:
        self.root, self.folder, self.say, self.keep_open = root, folder, say, tuple(keep_open)
        self.stop = stop
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self.terminal, self.code = sys.stdout.isatty(), code_digest()

    def run(self, step: Step, position: str = "", key: str | None = None) -> float:
        """Runs a step unless it is done.

        Args:
            step: the step.
            position: position in the pipeline for the printed line, e.g. ``3/12``.
            key: its :meth:`key`; None computes it, which reads configs and is not for several threads.

        Returns:
            Its duration in seconds, also if it was done before.

        Raises:
            UserError: if an input is missing, the command failed (with its last lines), or an output is missing; what
                :attr:`Step.after` raises.
        """
        key, stamp_path = key or self.key(step), self._stamp(step)
        stamp = _read(stamp_path)
        missing = [path for path in step.outputs if not path.is_file()]
        head = f"[{position}] {step.name}" if position else step.name
        if stamp.get("key") == key and stamp.get("finished") and not missing:
            other = ", by another version of the code" if stamp.get("code") not in (None, self.code) else ""
            self.say(f"{head}: done before ({stamp['seconds']:.0f} s{other})")
            step.after()
            return stamp["seconds"]
        # An interrupted step with the same key is resumed. A finished step with a missing output is not, nor one that
        # was interrupted after its last output: a training that is at its end would skip its validation.
        continues = stamp.get("key") == key and not stamp.get("finished") and (missing or not step.outputs)
        record = dict(command=["python", *step.command], key=key, code=self.code)

        def save(seconds: float, finished: bool) -> None:
            text = json.dumps({**record, "seconds": round(seconds, 2), "finished": finished}, indent=1)
            write_atomic(stamp_path, text.encode() + b"\n")

        if not continues:
            if stamp:  # outputs that are half removed are neither finished nor continued from
                write_atomic(stamp_path, json.dumps({**stamp, "key": "", "finished": False}).encode() + b"\n")
            for path in step.remove:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        before = stamp.get("seconds", 0.0) if continues else 0.0
        self.say(f"{head}: {step.title}" + (f" (continues after {before:.0f} s)" if before else ""))
        save(before, False)
        start = time.monotonic()
        try:
            self._execute(step)
        except BaseException:
            save(before + time.monotonic() - start, False)
            raise
        seconds = before + time.monotonic() - start
        missing = [str(path) for path in step.outputs if not path.is_file()]
        if missing:
            raise UserError(f"step {step.name}: it succeeded but did not write {', '.join(missing)}")
        save(seconds, True)
        self.say(f"{head}: finished in {seconds:.0f} s")
        step.after()
        return seconds

    def seconds(self, step: Step) -> float | None:
        """Return the seconds of a step that is done, as it and what it depends on are now; None if it is not."""
        stamp = _read(self._stamp(step))
        if not stamp.get("finished") or not all(path.is_file() for path in step.outputs):
            return None
        try:
            return stamp["seconds"] if stamp.get("key") == self.key(step) else None
        except (OSError, UserError):  # an input is missing, or a step at work is about to replace it
            return None

    def _stamp(self, step: Step) -> Path:
        return self.folder / "stamps" / f"{step.name}.json"

    def key(self, step: Step) -> str:
        """Return the digest of what a step depends on, see the module.

        Raises:
            UserError: an input or a config is missing.
        """
        absent = [str(path) for path in step.inputs if not path.is_file()]
        if absent:
            raise UserError(f"step {step.name}: input {', '.join(absent)} is missing")
        facts = [step.command, [config_digest(path, root=self.root) for path in step.configs]]
        facts.append([file_digest(path) for path in step.inputs])
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _execute(self, step: Step) -> None:
        log_path = self.folder / "logs" / f"{step.name}.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        process = None
        try:
            start = partial(
                subprocess.Popen,
                [sys.executable, *step.command],
                cwd=self.root,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=self.keep_open,
            )
            if self.stop is None:
                with _held_back() as mask:  # an interrupt while it starts would leave it running
                    process = start(preexec_fn=partial(signal.pthread_sigmask, signal.SIG_SETMASK, mask))
            else:
                process = start()  # interrupts reach the main thread alone
            self._follow(process, log_path, lines)
        finally:
            if process is not None:
                _stop(process)
        if process.returncode:
            # from the tool's error message on, if it printed one
            first = next(
                (k for k, line in enumerate(lines) if line.startswith("error:")), len(lines) - _SHOWN
            )
            tail = "\n".join(f"    {line}" for line in lines[max(0, first) :][:_SHOWN])
            raise UserError(
                f"step {step.name} failed with status {process.returncode}; its last lines (full log in "
                f"{log_path}):\n{tail}\nRun the same command again to continue from here."
            )

    def _follow(self, process: subprocess.Popen, log_path: Path, lines: list[str]) -> None:
        """Copy a process's output to the log until it ends."""
        with log_path.open("ab") as log:
            reader = threading.Thread(target=_copy, args=(process.stdout, log, lines), daemon=True)
            reader.start()
            try:
                self._wait(process, lines)
            finally:
                _stop(process)
                reader.join(timeout=10)

    def _wait(self, process: subprocess.Popen, lines: list[str], every: float = 30.0) -> None:
        """Wait until the process ends; shows its latest line, in place on a terminal, else from time to time."""
        start = shown = time.monotonic()
        period = 1.0 if self.terminal else every
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.2)
            if self.stop is not None:
                if self.stop.is_set():
                    raise KeyboardInterrupt
                continue
            now = time.monotonic()
            if now - shown >= period and process.poll() is None:
                shown, latest = now, (lines[-1] if lines else "starting")
                latest = _LOG_PREFIX.sub("", latest)
                text = f"    {now - start:4.0f} s  {latest}"[: shutil.get_terminal_size().columns - 1]
                print(
                    f"\r\033[K{text}" if self.terminal else text,
                    end="" if self.terminal else "\n",
                    flush=True,
                )
        if self.terminal and self.stop is None:
            print("\r\033[K", end="", flush=True)


def read_result(path: Path, rerun: str) -> dict:
    """Read the json file that a finished step wrote.

    Raises:
        UserError: it is missing or damaged; ``rerun`` says what to run again.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove it and run {rerun} again") from error


def _read(path: Path) -> dict:
    """Read a stamp; an unreadable one counts as missing."""
    try:
        stamp = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _copy(source, log, lines: list[str]) -> None:
    """Copy from a pipe to the log and keep the last lines; a carriage return also ends a line."""
    rest = b""
    while chunk := source.read1(65536):
        log.write(chunk)
        log.flush()
        *complete, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        lines += [text for line in complete if (text := line.decode(errors="replace").rstrip())]
        del lines[:-50]
    if rest.strip():
        lines.append(rest.decode(errors="replace"))


@contextlib.contextmanager
def _held_back() -> Iterator[set]:
    """Hold back interrupts of this thread until the end; yields the signal mask from before."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _stop(process: subprocess.Popen) -> None:
    """Stop a process if it is still running: interrupt it, then terminate it, then kill it."""
    for number, patience in ((signal.SIGINT, 5), (signal.SIGTERM, 5), (signal.SIGKILL, None)):
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=patience)
