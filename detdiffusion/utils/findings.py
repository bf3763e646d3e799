"""What a check of somebody's data finds, as one kind of record: every gate reports by it, every tool prints it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from .errors import UserError

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with, or remarkable about, somebody's data.

    Attributes:
        file: the file that it was found in.
        item: the entry concerned: ``"annotation id 17"``, ``"images[3] (id 4)"``; empty for the whole file.
        problem: what is wrong, a clause without a full stop.
        value: the offending value, or None where the problem says it all.
        remedy: what to do, or what was done (``"skipped"``, ``"the box's area is taken"``).
        severity: ``error``: the data's meaning is in doubt, nothing goes on; ``warning``: an object or image is lost
            or changed; ``note``: worth knowing.
        count: how many items it stands for; ``item`` then names the first few.
    """

    file: str
    item: str
    problem: str
    value: Any = None
    remedy: str = ""
    severity: Severity = "error"
    count: int = 1

    def __str__(self) -> str:
        where = f"{self.file}: {self.item}" if self.item else self.file
        value = repr(self.value) if self.value is not None else ""
        value = f" ({value if len(value) < 80 else value[:77] + '...'})" if value else ""
        times = f"{self.count} × " if self.count > 1 else ""
        return f"{where}: {times}{self.problem}{value}" + (f"; {self.remedy}" if self.remedy else "")


def raise_errors(findings: Iterable[Finding]) -> None:
    """Raises one UserError for all findings of severity ``error``, a line each; none: returns."""
    errors = [str(finding) for finding in findings if finding.severity == "error"]
    if errors:
        raise UserError("\n".join(errors))
