"""Class names that somebody wrote: in a config, in Python, on a command line."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Any

from detdiffusion.utils.errors import UserError, some


def class_list(classes: Any, where: str) -> list[str]:
    """The classes as a list.

    Args:
        classes: a list or tuple of texts.
        where: what names them, ``metainfo['classes']``, for messages.

    Raises:
        UserError: one text (``('cat')`` without its comma is one), something else that is no list of texts, no class,
            or one twice.
    """
    if isinstance(classes, str):
        raise UserError(
            f"{where}: is the text {classes!r}, but a tuple of names is wanted; Python reads ({classes!r}) as a text: "
            f"write ({classes!r},) with a comma"
        )
    if isinstance(classes, dict) or not isinstance(classes, Iterable):
        raise UserError(f"{where}: must be a tuple of class names, it is {str(classes)[:60]!r}")
    names = list(classes)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong or not names:
        what = f"has {wrong[0]!r}, which is no text" if wrong else "names no class"
        raise UserError(f"{where}: {what}; write a tuple of class names, e.g. ('cat', 'dog')")
    if twice := [name for index, name in enumerate(names) if name in names[:index]]:
        raise UserError(f"{where}: names {some(map(repr, twice))} twice; name each class once")
    return names


def similar(name: str, known: Collection[str]) -> str:
    """What may have been meant by a name that is not known, in any case; where nothing is like it, what there is."""
    folded: dict[str, list[str]] = {}
    for one in known:
        folded.setdefault(one.casefold(), []).append(one)
    near = difflib.get_close_matches(name.casefold(), folded, n=3)
    if near:
        return f"near matches: {', '.join(one for key in near for one in folded[key])}"
    return f"names that are there: {some(known, 20) or 'none'}"


def check_known(names: Iterable[str], known: Collection[str], where: str, place: str) -> None:
    """Whether all names are known.

    Args:
        names: to be looked for.
        known: the names that there are.
        where: what names them.
        place: what has the known ones.

    Raises:
        UserError: one is not, with near matches.
    """
    for name in names:
        if name not in known:
            raise UserError(f"{place}: lacks the class {name!r} of {where}; {similar(name, known)}")
