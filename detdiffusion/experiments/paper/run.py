"""Runs the jobs of the paper in miniature that have no result file yet; can be interrupted at any time."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.machine import machine_facts, package_versions
from detdiffusion.utils.steps import StepRunner
from detdiffusion.utils.work_folder import try_lock

from .scales import Job, key_of

FORMAT = 1


class ResultFolder:
    """Folder of result files, ``FOLDER/SEED/JOB.json`` for each finished job.

    A result file is valid if it has the key of its job. ``FOLDER/frozen.json`` contains a commit and the keys of
    results made at that commit. These remain valid when configs or the zoo's weights change, as long as sizes, seeds
    and arms equal those of the job; configs and weights are those of the commit. None can be added to them.

    Attributes:
        stale: files with another key than that of their job.
        frozen: files that are valid because they are frozen.
        commit: commit of the frozen results; None without any.

    Raises:
        UserError: ``frozen.json`` is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.stale, self.frozen = folder, set(), set()
        self.commit, self._keys = None, frozenset()
        path = folder / "frozen.json"
        if path.is_file():
            try:
                freeze = json.loads(path.read_text())
                self.commit, self._keys = freeze["commit"], frozenset(freeze["keys"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise UserError(f"{path}: it must have a commit and a list of keys ({error!r})") from error

    def path(self, job: Job) -> Path:
        return self.folder / str(job.seed) / f"{job.name}.json"

    def seeds(self) -> list[int]:
        """Return the seeds that have results."""
        return sorted(
            int(path.name) for path in self.folder.glob("*") if path.is_dir() and path.name.isdigit()
        )

    def read(self, job: Job) -> dict | None:
        """Return the result of a job, or None if there is no valid one.

        Raises:
            UserError: the file is damaged.
        """
        path = self.path(job)
        if not path.is_file():
            return None
        try:
            result = json.loads(path.read_text())
            frozen = result["key"] != job.key and self._is_frozen(result, job)
            same = frozen or result["key"] == job.key
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: not a result file ({error!r}); remove it to run the job again"
            ) from error
        self.stale.discard(path)
        self.frozen.discard(path)
        if not same:
            self.stale.add(path)
            return None
        if frozen:
            self.frozen.add(path)
        return result

    def _is_frozen(self, result: dict, job: Job) -> bool:
        """Return whether a result is listed as frozen, unchanged, and has the job's settings apart from files."""
        facts = {k: v for k, v in result["facts"].items() if k not in ("configs", "layout_weights")}
        return (
            result["key"] in self._keys
            and result["key"] == key_of(result["facts"])
            and facts == {name: value for name, value in job.facts.items() if name in facts}
        )

    def write(self, job: Job, figures: dict, record: dict) -> None:
        result = dict(format=FORMAT, job=job.name, seed=job.seed, key=job.key, figures=figures, **record)
        result["facts"] = job.facts
        write_atomic(self.path(job), json.dumps(result, indent=1, ensure_ascii=False).encode() + b"\n")


def run_jobs(
    root: Path,
    jobs: Sequence[Job],
    folders: Callable[[int], Path],
    results: ResultFolder,
    threads: int,
    minutes: float | None = None,
    keep: bool = False,
    say: Callable[[str], None] = print,
) -> bool:
    """Run all jobs without a result. Several processes may share the work; each seed is locked by one process.

    Args:
        root: folder in which commands are run.
        jobs: the jobs, in order.
        folders: returns the work folder of a seed.
        results: folder of the result files.
        threads: ``OMP_NUM_THREADS`` of the steps.
        minutes: no job is started after this time.
        keep: keep checkpoints that no other job needs.
        say: prints a line.

    Returns:
        Whether all jobs have a result.

    Raises:
        UserError: a step failed, or a job is to be added to frozen results.
    """
    start = time.monotonic()
    pending = [job for job in jobs if results.read(job) is None]
    frozen = f", of which {len(results.frozen)} of commit {results.commit[:7]}" if results.frozen else ""
    say(f"{len(jobs)} jobs, {len(jobs) - len(pending)} done before{frozen}; {threads} threads")
    if results.stale:
        say(f"{len(results.stale)} result files were made with other settings: these jobs are run again")
    while pending:
        if minutes is not None and time.monotonic() - start >= 60 * minutes:
            say(f"time limit of {minutes:g} minutes reached: {len(pending)} jobs are left")
            return False
        if results.commit:
            raise UserError(
                f"{results.folder}: records of commit {results.commit[:7]}, made with its configs and weights, cannot "
                "be continued; name another folder by --results"
            )
        for job in pending:
            lock = try_lock(folders(job.seed) / ".lock")
            if lock is not None:
                break
        else:
            say(f"other processes are running the seeds of the {len(pending)} remaining jobs")
            return False
        with lock:
            if results.read(job) is None:
                number = len(jobs) - len(pending) + 1
                say(f"\njob {number}/{len(jobs)}: seed {job.seed}, {job.name}: {job.title}")
                _run(root, job, folders(job.seed), results, threads, lock.fileno(), say)
                for path in () if keep else _checkpoints(job):
                    path.unlink()
                say(f"    minutes so far: {(time.monotonic() - start) / 60:.1f}")
        pending = [job for job in pending if results.read(job) is None]
    return True


def _run(root: Path, job: Job, folder: Path, results: ResultFolder, threads: int, lock: int, say) -> None:
    def tell(line: str) -> None:
        if "done before" not in line:
            say(line)

    runner = StepRunner(root, folder, {"OMP_NUM_THREADS": str(threads)}, tell, keep_open=[lock])
    seconds, processor = {}, {}
    for step in (*job.chain, *job.steps):
        before, stamp = _children_seconds(), time.monotonic()
        seconds[step.name] = round(runner.run(step), 1)
        # processor time is unknown if an earlier process ran the step or a part of it
        ran_here = time.monotonic() - stamp >= 0.9 * seconds[step.name]
        processor[step.name] = round(_children_seconds() - before, 1) if ran_here else None
    record = dict(
        title=job.title,
        finished=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        own_steps=[step.name for step in job.steps],
        seconds=seconds,
        processor_seconds=processor,
        machine=machine_facts(threads),
        versions=package_versions(),
        code=runner.code,
    )
    results.write(job, job.figures(), record)
    say(f"    written: {results.path(job)}")


def _checkpoints(job: Job) -> list[Path]:
    return [path for folder in job.disposable for path in folder.glob("*.pth")]


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
