"""The record type for problems found in a user's data; every check returns it and every tool prints it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from .errors import UserError

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """A problem or peculiarity found in a user's data.

    Attributes:
        file: the file that it was found in.
        item: the entry concerned: ``"annotation id 17"``, ``"images[3] (id 4)"``; empty for the entire file.
        problem: what is wrong, as a clause without a full stop.
        value: the offending value, or None if the problem needs none.
        remedy: what to do, or what was done (``"skipped"``, ``"the box's area is used"``).
        severity: ``error``: the meaning of the data is in doubt and the tool stops; ``warning``: an object or image is
            dropped or changed; ``note``: for information only.
        count: the number of items that it applies to; if more than 1, ``item`` names the first few.
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
    """Raises one UserError that lists all findings of severity ``error``, one per line; returns if there are none."""
    errors = [str(finding) for finding in findings if finding.severity == "error"]
    if errors:
        raise UserError("\n".join(errors))
