"""Encoding and writing of images in background threads while the next ones are generated."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

from .writer import CocoWriter

_ENCODERS = 2  # compression takes longer than writing, and releases the interpreter lock


class BackgroundWriter:
    """Adds images to a :class:`.writer.CocoWriter` in the order of the calls of :meth:`add`.

    Images are encoded by a few threads, and written by one. Every image is still written before its manifest line.
    :meth:`add` returns at once unless ``depth`` images are queued, so memory use is bounded. At the end of the ``with``
    block, all queued images are written, also after Ctrl-C.

    Args:
        writer: an open writer, to which nothing else may add images meanwhile.
        depth: maximum number of queued images.
    """

    def __init__(self, writer: CocoWriter, depth: int = 16) -> None:
        self.writer = writer
        self._queue: queue.Queue = queue.Queue(maxsize=depth)
        self._error: BaseException | None = None
        self._encoders = ThreadPoolExecutor(_ENCODERS, thread_name_prefix="image-encoder")
        self._thread = threading.Thread(target=self._work, name="image-writer", daemon=True)
        self._thread.start()

    def add(self, **arguments) -> None:
        """Queue an image; arguments as ``CocoWriter.add``. Errors are raised by the next call or by :meth:`close`."""
        self._raise()
        data = self._encoders.submit(self.writer.encode, arguments["image"], arguments["record"])
        self._queue.put((arguments, data))

    def close(self) -> None:
        """Wait until all images are written; raise the error that stopped the writing, if any."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._encoders.shutdown(cancel_futures=True)
        self._raise()

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(self, kind, *exc_info: object) -> None:
        if kind is None:
            return self.close()
        error, self._error = self._error, None
        try:
            self.close()
        except Exception as later:  # do not replace the exception that left the block
            error = error or later

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            arguments, data = item
            if self._error is None:  # after an error the queue is only emptied, so that add() does not block
                try:
                    self.writer.add(**arguments, data=data.result())
                except BaseException as error:
                    self._error = error
