"""Encoding and writing of images beside the drawing of the next ones."""

from __future__ import annotations

import queue
import threading

from .writer import CocoWriter


class BackgroundWriter:
    """A thread that adds images to a :class:`.writer.CocoWriter` in the order in which they come.

    Every image is still written before its manifest line. :meth:`add` returns at once, or waits while ``depth``
    images are waiting already, so memory stays bounded. Leaving the ``with`` block writes what is waiting,
    after Ctrl-C too.

    Args:
        writer: an open one; only the thread adds to it meanwhile.
        depth: images that may wait.
    """

    def __init__(self, writer: CocoWriter, depth: int = 16) -> None:
        self.writer = writer
        self._queue: queue.Queue = queue.Queue(maxsize=depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="image-writer", daemon=True)
        self._thread.start()

    def add(self, **arguments) -> None:
        """As ``CocoWriter.add``; an error of an earlier image is raised here or by :meth:`close`."""
        self._raise()
        self._queue.put(arguments)

    def close(self) -> None:
        """Waits until everything is written; raises the error that stopped the writing, if any."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._raise()

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, kind, *exc_info: object) -> None:
        if kind is None:
            return self.close()
        error, self._error = self._error, None
        try:
            self.close()
        except Exception as later:  # the one under way is the one to show
            error = error or later

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (arguments := self._queue.get()) is not None:
            if self._error is None:  # after an error the queue is emptied, so that add() never waits for ever
                try:
                    self.writer.add(**arguments)
                except BaseException as error:
                    self._error = error
