"""The one exception that the tools show to a user as a plain message, and how such messages list things."""

from __future__ import annotations

from collections.abc import Iterable


class UserError(ValueError):
    """Bad input: a wrong file, value, path or option, not a bug of the library.

    The message is one clear sentence or two: what is wrong, where (file, id), the value, what to do.
    Tools print it as ``error: <message>`` and exit with status 2 (:func:`detdiffusion.utils.cli.run_main`).
    """


class NotFiniteError(UserError):
    """Numbers of a training or a drawing are NaN or infinite."""


def some(things: Iterable, limit: int = 3) -> str:
    """The first few of many as a text: ``a, b, c, …``."""
    things = list(things)
    return ", ".join(map(str, things[:limit])) + (", …" if len(things) > limit else "")
