"""Does the jobs of the paper in miniature: those without a result file, one after the other, safe to stop."""

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
    """``FOLDER/SEED/JOB.json``, one a finished job.

    A record is its job's if it has the job's key. ``FOLDER/frozen.json`` names a commit and the keys of the records
    that were made by then. These stay valid when configs change: their sizes, seeds and arms must still be the job's,
    the contents of the configs are those of the commit.

    Attributes:
        stale: files that were found with another key than their job's.
        frozen: files that were taken because they are frozen.
        commit: that the frozen records belong to; None where none are.

    Raises:
        UserError: ``frozen.json`` is broken.
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
        """Seeds that have results."""
        return sorted(
            int(path.name) for path in self.folder.glob("*") if path.is_dir() and path.name.isdigit()
        )

    def read(self, job: Job) -> dict | None:
        """The result of a job, None where there is none with its key.

        Raises:
            UserError: the file is broken.
        """
        path = self.path(job)
        if not path.is_file():
            return None
        try:
            result = json.loads(path.read_text())
            frozen = result["key"] != job.key and self._is_frozen(result, job)
            same = frozen or result["key"] == job.key
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a result file ({error!r}); remove it to do the job anew") from error
        (self.stale.discard if same else self.stale.add)(path)
        (self.frozen.add if frozen else self.frozen.discard)(path)
        return result if same else None

    def _is_frozen(self, result: dict, job: Job) -> bool:
        """Whether a record is listed, as it was made, and of the same settings as far as they are no config's."""
        facts = {name: value for name, value in result["facts"].items() if name != "configs"}
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
    """Does what is missing. Several processes may share the work: a seed is worked on by one at a time.

    Args:
        root: where commands run.
        jobs: in order.
        folders: seed -> its work folder.
        threads: ``OMP_NUM_THREADS`` of the steps.
        minutes: no job is started later than this.
        keep: leave the checkpoints that no other job needs.
        say: prints a line.

    Returns:
        Whether all jobs have a result.

    Raises:
        UserError: a step failed.
    """
    start = time.monotonic()
    pending = [job for job in jobs if results.read(job) is None]
    frozen = f", of which {len(results.frozen)} of commit {results.commit[:7]}" if results.frozen else ""
    say(f"{len(jobs)} jobs, {len(jobs) - len(pending)} done before{frozen}; {threads} threads")
    if results.stale:
        say(f"{len(results.stale)} result files were made with other settings: these jobs are done anew")
    while pending:
        if minutes is not None and time.monotonic() - start >= 60 * minutes:
            say(f"{minutes:g} minutes are over: {len(pending)} jobs are left")
            return False
        for job in pending:
            lock = try_lock(folders(job.seed) / ".lock")
            if lock is not None:
                break
        else:
            say(f"other processes are at work on the seeds of the {len(pending)} jobs that are left")
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
        # of a step that was done or begun before, this process knows only the wall clock's seconds
        whole = time.monotonic() - stamp >= 0.9 * seconds[step.name]
        processor[step.name] = round(_children_seconds() - before, 1) if whole else None
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
