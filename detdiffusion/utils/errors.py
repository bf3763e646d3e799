"""The exception that the tools report to users as a plain message, and a helper to abbreviate lists in messages."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(ValueError):
    """Invalid input, such as a wrong file, value, path or option, as opposed to a bug in the library.

    The message is one or two sentences that state what is wrong, where (file, id), the value, and what to do.
    Tools print it as ``error: <message>`` and exit with status 2 (:func:`detdiffusion.utils.cli.run_main`).
    """


class NotFiniteError(UserError):
    """A value in training or generation is NaN or infinite."""


def some(things: Iterable, limit: int = 3) -> str:
    """Join the first ``limit`` items, followed by an ellipsis if there are more: ``a, b, c, …``."""
    things = list(things)
    return ", ".join(map(str, things[:limit])) + (", …" if len(things) > limit else "")


def first_line(error: Exception) -> str:
    """Return the first line of an exception's message, or the name of its type if it has none."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
