"""Collecting the findings of one file; equal problems are merged to one finding with a count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detdiffusion.utils.findings import Finding, Severity, raise_errors

_EXAMPLES = 5


@dataclass
class _Group:
    kind: str
    keys: list
    value: Any
    count: int = 0


class FindingLog:
    """Collects the findings of a check of one file.

    Args:
        file: path of the file.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = str(file)
        self._groups: dict[tuple[str, str, str], _Group] = {}

    def add(
        self,
        problem: str,
        keys: Sequence,
        *,
        kind: str = "",
        value: Any = None,
        remedy: str = "",
        severity: Severity = "error",
        count: int | None = None,
    ) -> None:
        """Add items with a problem; the finding lists the first few items of each problem.

        Args:
            problem, remedy, severity: see :class:`~detdiffusion.utils.findings.Finding`.
            keys: the items, as ids or places.
            kind: what ``keys`` are, e.g. ``"annotation id"``; empty if they are places.
            value: value of the first item.
            count: number of items, if ``keys`` contains only the first few.
        """
        group = self._groups.setdefault((severity, problem, remedy), _Group(kind, [], value))
        group.count += len(keys) if count is None else count
        group.keys += list(keys[: _EXAMPLES - len(group.keys)])

    def error(self, problem: str, place: str, value: Any = None, remedy: str = "") -> None:
        """Add one item with a problem of severity ``error``."""
        self.add(problem, [place], value=value, remedy=remedy)

    @property
    def findings(self) -> list[Finding]:
        """One finding per problem, in the order of their first occurrence."""
        return [
            Finding(self.file, _item(group), problem, group.value, remedy, severity, group.count)
            for (severity, problem, remedy), group in self._groups.items()
        ]

    def raise_errors(self) -> None:
        """Raise one UserError for all errors so far, if there are any."""
        raise_errors(self.findings)


def _item(group: _Group) -> str:
    text = ", ".join(map(str, group.keys)) + (", …" if group.count > len(group.keys) else "")
    return f"{group.kind}{'s' if group.count > 1 else ''} {text}" if group.kind else text
