"""Reading mmengine's training logs, the lines of ``WORK_DIR/*/vis_data/scalars.json``."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .errors import UserError, some
from .numbers import is_number


@dataclass
class LogEntry:
    """One line of a log.

    Attributes:
        log: the file.
        line: number of the line, from 1.
        values: the logged values.
        iteration: the last training iteration with logged losses in this file, up to and including this line.
    """

    log: Path
    line: int
    values: dict
    iteration: int = 0

    def number(self, key: str) -> float:
        """Return a value after checking that it is a finite number.

        Raises:
            UserError: if it is not.
        """
        value = self.values[key]
        if not is_number(value):
            raise UserError(
                f"{self.log}, line {self.line}: {key!r} must be a number, it is {value!r}; remove the line, or train "
                "again"
            )
        return float(value)

    def whole_number(self, key: str) -> int:
        """Return a value after checking that it is an integer of at least 0; 0 if it was not logged.

        Raises:
            UserError: if it is not.
        """
        value = self.number(key) if key in self.values else 0.0
        if value < 0 or not value.is_integer():
            raise UserError(
                f"{self.log}, line {self.line}: {key!r} must be a whole number of at least 0, it is {value:g}; remove "
                "the line, or train again"
            )
        return int(value)


@dataclass
class TrainingLogs:
    """All logs of a work dir, the oldest first; a resumed training has several.

    Attributes:
        files: the logs.
        entries: their lines.
        notes: messages about lines that could not be read.
    """

    files: list[Path] = field(default_factory=list)
    entries: list[LogEntry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, work_dir: str | Path) -> TrainingLogs:
        """Read the logs of a work dir; empty if the folder is missing or has no logs.

        Raises:
            UserError: if a log cannot be read, or an iteration is not an integer.
        """
        logs = cls(sorted(Path(work_dir).glob("*/vis_data/scalars.json")))
        for log in logs.files:
            iteration = 0
            for entry in _entries(log, logs.notes):
                if "loss" in entry.values:
                    iteration = max(
                        iteration, entry.whole_number("iter" if "iter" in entry.values else "step")
                    )
                entry.iteration = iteration
                logs.entries.append(entry)
        return logs

    def losses(self) -> dict[str, list[tuple[int, float]]]:
        """Return all ``loss*`` values: name -> list of (iteration, value) in ascending order of iteration.

        If an iteration was run twice, its last value counts; values that are not finite are skipped.
        """
        found: dict[str, dict[int, float]] = {}
        for entry in self.entries:
            if "loss" not in entry.values:
                continue
            for name, value in entry.values.items():
                if name.startswith("loss") and is_number(value):
                    found.setdefault(name, {})[entry.iteration] = float(value)
        return {name: sorted(points.items()) for name, points in found.items()}

    def seconds_per_step(self) -> float | None:
        """Return the seconds of a step: the median of the logged ``time``, the first left out; None without any."""
        times = [entry.number("time") for entry in self.entries if "time" in entry.values]
        return statistics.median(times[1:] or times) if times else None


def _entries(log: Path, notes: list[str]) -> Iterator[LogEntry]:
    """Yield the entries of a log; adds a note about invalid lines before the last one.

    An incomplete last line (of a killed run) and zero bytes (of a full disk) are ignored silently.
    """
    try:
        lines = log.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"{log}: cannot read this log: {error.strerror or error}") from None
    lines = [(number, line) for number, line in enumerate(lines, 1) if line.strip("\0 \t")]
    torn = []
    for number, line in lines:
        try:
            values = json.loads(line)
        except ValueError:
            values = None
        if isinstance(values, dict):
            yield LogEntry(log, number, values)
        elif number != lines[-1][0]:
            torn.append(number)
    if torn:
        notes.append(f"{log}: {len(torn)} × line that is not a json object: left out (lines {some(torn, 5)})")
