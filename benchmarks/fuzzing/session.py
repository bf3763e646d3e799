"""Run the cases of all targets: progress, the final table and the record."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import platform
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .case import Case, Run
from .running import ROOT, prepare_process, run_command, run_forked
from .targets.target import Target
from .verdict import FAILURES, OUTCOMES, RIGHT, Verdict, sort_out


@dataclass
class Result:
    """One case in the record."""

    case: str
    outcome: str
    reason: str
    damages: list[str]
    seconds: float
    command_line: bool


class Session:
    """All cases of some targets below one folder.

    Args:
        targets: the tools under test.
        folder: folder for all output.
        seed: seed of the random damage.
        seconds: time limit of a run on an idle machine; extended if more processes are waiting than there are cores.
    """

    def __init__(self, targets: Sequence[Target], folder: Path, seed: int = 0, seconds: float = 60.0) -> None:
        self.targets, self.folder = {target.name: target for target in targets}, folder
        self.seed, self.seconds = seed, seconds
        self._mains: dict[str, Callable[[], None]] = {}

    def prepare(self) -> None:
        """Import what the tools import, write the intact inputs and run each tool on its input.

        Raises:
            RuntimeError: a tool gives a wrong result on an intact input.
        """
        sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "benchmarks")) if path not in sys.path]
        os.environ["OMP_NUM_THREADS"] = "1"
        for target in self.targets.values():
            for module in target.imports:
                with contextlib.suppress(ModuleNotFoundError):  # the tool's own message, where it needs it
                    importlib.import_module(module)
            self.use(target.name, target.load())
        prepare_process()
        for target in self.targets.values():
            target.prepare(self._base(target))
            result, run = self.run(target.name, 0)
            if result.outcome != RIGHT:
                raise RuntimeError(
                    f"{target.name}: {result.outcome} on its sound input: {result.reason}\n{run.output}"
                )

    def use(self, tool: str, main: Callable[[], None]) -> None:
        """Replace the ``main`` of a target's tool."""
        self._mains[tool] = main

    def run(
        self, tool: str, number: int, command_line: bool = False, keep: bool = False
    ) -> tuple[Result, Run]:
        """Run one case; number 0 is the intact input.

        Args:
            tool: name of a target.
            number: number of the case.
            command_line: run in a separate process, not in a fork.
            keep: keep the case's folder.
        """
        target, folder = self.targets[tool], self.folder / f"{tool}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        case = Case(tool, number, self.seed, self._base(target), folder)
        shutil.copytree(case.base, case.source)
        if number:
            target.damage(case)
        arguments = target.arguments(case)
        seconds = self.seconds * max(1.0, os.getloadavg()[0] / os.cpu_count())
        if command_line:
            run = run_command(target.tool, arguments, folder, seconds)
        else:
            run = run_forked(self._mains[tool], arguments, folder, seconds)
        verdict = _judged(case, run, target)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        reason = verdict.reason.replace(str(folder) + "/", "").replace(str(folder), "")
        return Result(
            case.name, verdict.outcome, reason[:400], case.damages, round(run.seconds, 2), command_line
        ), run

    def cases(self, count: int, command_line: int) -> Iterator[Result]:
        """Yield ``count`` cases, alternating tools; the first ``command_line`` of each tool also by command line."""
        numbers = [(tool, number) for number in range(1, count + 1) for tool in self.targets][:count]
        for tool, number in numbers:
            yield self.run(tool, number)[0]
        for number in range(1, command_line + 1):
            for tool in self.targets:
                yield self.run(tool, number, command_line=True)[0]

    def _base(self, target: Target) -> Path:
        return self.folder / "base" / target.name


def _judged(case: Case, run: Run, target: Target) -> Verdict:
    try:
        return sort_out(case, run, target.judge)
    except Exception as error:  # the output cannot be read
        return Verdict("wrong result", f"the output cannot be compared: {type(error).__name__}: {error}")


def run_all(session: Session, count: int, command_line: int) -> list[Result]:
    """Run all cases with a progress line; failures are printed immediately."""
    begin, results, total = time.monotonic(), [], count + command_line * len(session.targets)
    for result in session.cases(count, command_line):
        results.append(result)
        if result.outcome in FAILURES:
            way = " (command line)" * result.command_line
            print(
                f"{result.case}{way}: {result.outcome}: {result.reason}\n    {'; '.join(result.damages)[:300]}",
                flush=True,
            )
        if len(results) % 50 == 0 or len(results) == total:
            left = _seconds_left(results, count, total)
            passed = (time.monotonic() - begin) / 60
            print(
                f"{len(results)}/{total} cases, {passed:.1f} min, about {left / 60:.1f} min left", flush=True
            )
    return results


def _seconds_left(results: Sequence[Result], forked: int, total: int) -> float:
    """Estimate the remaining time from the mean of forks and of command lines (a few seconds before the first)."""
    left = 0.0
    for way, wanted, guess in ((False, forked, 0.5), (True, total - forked, 5.0)):
        seconds = [result.seconds for result in results if result.command_line == way]
        left += (wanted - len(seconds)) * (sum(seconds) / len(seconds) if seconds else guess)
    return left


def table(results: Sequence[Result]) -> str:
    """Return a table of tools and outcomes."""
    from detdiffusion.utils.tables import format_table  # on the path once a tool is loaded

    tools = list(dict.fromkeys(result.case.split(":")[0] for result in results))
    rows = [["tool", "cases", "command line", *OUTCOMES, "s a case"]]
    for tool in [*tools, "all"]:
        own = [r for r in results if tool in ("all", r.case.split(":")[0])]
        found = Counter(result.outcome for result in own)
        lines = sum(result.command_line for result in own)
        seconds = sum(result.seconds for result in own) / max(1, len(own))
        rows.append([tool, len(own) - lines, lines, *(found[name] for name in OUTCOMES), f"{seconds:.2f}"])
    return format_table(rows)


def record(results: Sequence[Result], command: str, minutes: float, seed: int) -> dict:
    """Return the record for ``--json``: counts by tool and outcome, and all failed cases."""
    counts: dict[str, dict] = {}
    for way in ("forked", "command line"):
        for result in results:
            if result.command_line == (way == "command line"):
                row = counts.setdefault(result.case.split(":")[0], {}).setdefault(
                    way, dict.fromkeys(OUTCOMES, 0)
                )
                row[result.outcome] += 1
    return dict(
        date=time.strftime("%Y-%m-%d"),
        command=command,
        hardware=f"{platform.machine()}, one of {os.cpu_count()} cores used, Python {platform.python_version()}",
        load_average=round(os.getloadavg()[0], 1),
        wall_minutes=round(minutes, 1),
        seed=seed,
        cases=sum(not result.command_line for result in results),
        by_command_line=sum(result.command_line for result in results),
        outcomes=dict(Counter(result.outcome for result in results)),
        tools=counts,
        failures=[asdict(result) for result in results if result.outcome in (*FAILURES, "unclear error")],
    )


def write_record(path: Path, data: dict) -> None:
    """Write the record as json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
