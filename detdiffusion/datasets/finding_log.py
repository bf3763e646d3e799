"""Findings of one file as they come: what is found many times becomes one line with a count."""

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
    """Collects what a check finds in a file.

    Args:
        file: its path.
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
        """Adds items with a problem; the first few of each problem are named.

        Args:
            problem, remedy, severity: see :class:`~detdiffusion.utils.findings.Finding`.
            keys: the items, ids or places.
            kind: what ``keys`` are ids of, ``"annotation id"``; empty where they are places.
            value: of the first item.
            count: of the items, where ``keys`` are only the first.
        """
        group = self._groups.setdefault((severity, problem, remedy), _Group(kind, [], value))
        group.count += len(keys) if count is None else count
        group.keys += list(keys[: _EXAMPLES - len(group.keys)])

    def error(self, problem: str, place: str, value: Any = None, remedy: str = "") -> None:
        """Adds one item that makes the file's meaning doubtful."""
        self.add(problem, [place], value=value, remedy=remedy)

    @property
    def findings(self) -> list[Finding]:
        """One a problem, in the order in which they first came."""
        return [
            Finding(self.file, _item(group), problem, group.value, remedy, severity, group.count)
            for (severity, problem, remedy), group in self._groups.items()
        ]

    def raise_errors(self) -> None:
        """Raises one UserError for all errors so far."""
        raise_errors(self.findings)


def _item(group: _Group) -> str:
    text = ", ".join(map(str, group.keys)) + (", …" if group.count > len(group.keys) else "")
    return f"{group.kind}{'s' if group.count > 1 else ''} {text}" if group.kind else text
