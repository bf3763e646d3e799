"""Classify the outcome of running a tool on a damaged input."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .case import Case, Run

RIGHT, COUNTED, CLEAR = "right", "counted", "clear error"
UNCLEAR, WRONG = "unclear error", "wrong result"
TRACEBACK, HANG, LOSS = "foreign traceback", "hang", "silent loss"
OUTCOMES = (RIGHT, COUNTED, CLEAR, UNCLEAR, WRONG, TRACEBACK, HANG, LOSS)
FAILURES = (TRACEBACK, HANG, LOSS, WRONG)


@dataclass
class Account:
    """Comparison of a damaged input's content with the tool's output.

    Attributes:
        lost: (description, names) of items of the input that are not in the output; a loss is reported if one of its
            names is printed, or if the printed counts cover all losses.
        wrong: content of the output that is not in the input.
        counted: number of losses that were printed; None: the sum of all ``N × reason`` lines.
    """

    lost: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    counted: int | None = None

    def lose(self, what: object, *names: object) -> None:
        """Add an item that is missing in the output."""
        self.lost.append((str(what), tuple(str(name) for name in names if str(name))))


@dataclass
class Verdict:
    """An outcome of :data:`OUTCOMES` and its reason."""

    outcome: str
    reason: str = ""


def sort_out(case: Case, run: Run, judge) -> Verdict:
    """Return the verdict on one run.

    Args:
        case: the damaged input.
        run: result of the tool.
        judge: ``judge(case, run)`` -> :class:`Account`, called if the tool reported success.
    """
    if run.hung:
        return Verdict(HANG, f"stopped after {run.seconds:.0f} s")
    if "Traceback (most recent call last)" in run.output or run.status not in (0, 2):
        return Verdict(TRACEBACK, _last_line(run))
    if run.status == 2:
        message = error_message(run.output)
        named = message and any(name in message for name in _names(case))
        return Verdict(CLEAR if named else UNCLEAR, message or _last_line(run))
    return balance(judge(case, run), run.output)


def balance(account: Account, output: str) -> Verdict:
    """Check that all losses were reported."""
    if account.wrong:
        return Verdict(WRONG, "; ".join(account.wrong[:3]))
    if not account.lost:
        return Verdict(RIGHT)
    counted = printed_counts(output) if account.counted is None else account.counted
    unnamed = [what for what, names in account.lost if not any(name in output for name in names)]
    cut_short = "…" in output  # more were counted than named
    if counted < len(account.lost) or (unnamed and not cut_short and any(names for _, names in account.lost)):
        lost = unnamed or [what for what, _ in account.lost]
        return Verdict(LOSS, f"{len(account.lost)} lost, {counted} counted; not said: {'; '.join(lost[:3])}")
    return Verdict(COUNTED, f"{len(account.lost)} lost and said")


def printed_counts(output: str) -> int:
    """Return the sum of all ``N × reason`` lines, except those of items that were only changed."""
    lines = re.findall(r"^\s*(\d+) × (.*)$", output, re.M)
    return sum(int(number) for number, reason in lines if ": clipped" not in reason)


def error_message(output: str) -> str:
    """Return the text after ``error:``, or an empty string."""
    found = re.search(r"^(?:\S+\.py: )?error: (.*)\Z", output, re.M | re.S)
    return " ".join(found[1].split()) if found else ""


def _names(case: Case) -> set[str]:
    """Return the names of all files of the input, damaged or not."""
    files = [p for folder in (case.base, case.source) for p in folder.rglob("*")]
    return {p.name for p in files if len(p.name) > 3} | {str(case.source), str(case.base)}


def _last_line(run: Run) -> str:
    lines = [line.strip() for line in run.output.splitlines() if line.strip()]
    places = re.findall(r'File "[^"]*?/((?:detdiffusion|tools)/[^"]*)", line (\d+), in (\w+)', run.output)
    where = " <- ".join(f"{file}:{line} {name}" for file, line, name in reversed(places[-2:]))
    return f"status {run.status}: {lines[-1][:160] if lines else 'no output'}" + (
        f" ({where})" if where else ""
    )
