"""Progress reports: a bar on a terminal, or a line from time to time otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

_T = TypeVar("_T")
EVERY = 30.0
"""Seconds between lines."""


class Progress:
    """Context manager that reports the items done, the rate and the remaining time on stderr.

    Args:
        what: name of the task, e.g. ``'generating'``.
        unit: unit of the items.
        total: number of items; None if it is unknown or given later.
        done: number of items done in an earlier run; they are shown, but excluded from the rate.
        enabled: whether to show anything.
    """

    def __init__(
        self,
        what: str,
        unit: str = "images",
        total: int | None = None,
        done: int = 0,
        enabled: bool = True,
    ) -> None:
        self.what, self.unit, self.total, self.enabled = what, unit, total, enabled
        self.done = self._before = done
        self._bar = self._task = None
        self._start = self._shown = time.monotonic()

    def __enter__(self) -> Progress:
        self._start = self._shown = time.monotonic()
        if self.enabled and sys.stderr.isatty():
            self._bar, self._task = _bar(self.what, self.unit, self.total, self.done)
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int = 1) -> None:
        """Report that ``count`` more items are done."""
        self(self.done + count, self.total)

    def track(self, items: Iterable[_T]) -> Iterator[_T]:
        """Yield the items, counting each one when the next is requested."""
        for item in items:
            yield item
            self.advance()

    def __call__(self, done: int, total: int | None) -> None:
        """Report that ``done`` of ``total`` items are done."""
        ends, self.done, self.total = self.done != done == total, done, total
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif self.enabled and (ends or time.monotonic() - self._shown >= EVERY):
            self._shown = time.monotonic()
            print(self._line(), file=sys.stderr, flush=True)

    def _line(self) -> str:
        rate = (self.done - self._before) / max(time.monotonic() - self._start, 1e-9)
        text = f"{self.what}: {self.done}"
        if self.total is not None:
            text += f"/{self.total}"
        text += f" {self.unit}, {rate:.2f} {self.unit}/s"
        if self.total is not None and rate:
            text += f", {timedelta(seconds=round((self.total - self.done) / rate))} left"
        return text


def _bar(what: str, unit: str, total: int | None, done: int):
    """Create a rich progress bar, not started yet, and its task."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.2f} {unit}/s")

    bar = RichProgress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr, markup=False, emoji=False),
        redirect_stdout=sys.stdout.isatty(),
    )
    return bar, bar.add_task(what, total=total, completed=done)
