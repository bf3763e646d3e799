"""Validation of class names given in a config, in Python or on the command line."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from detdiffusion.utils.errors import UserError, some


def read_names(path: str | Path) -> list[str]:
    """Read a text file with one class name per line; blank lines and a byte order mark are ignored.

    Raises:
        OSError, UnicodeDecodeError: if the file cannot be read, or is not UTF-8 text.
    """
    lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip()]


def class_list(classes: Any, where: str) -> list[str]:
    """Validate class names and return them as a list.

    Args:
        classes: a list or tuple of strings.
        where: where they are given, e.g. ``metainfo['classes']``, used in error messages.

    Raises:
        UserError: if it is a single string (such as ``('cat')`` without a comma), not a list of strings, empty, or has
            a repeated name.
    """
    if isinstance(classes, str):
        raise UserError(
            f"{where}: must be a tuple of class names, got the string {classes!r}; Python reads ({classes!r}) as a "
            f"string: write ({classes!r},) with a comma"
        )
    if isinstance(classes, dict) or not isinstance(classes, Iterable):
        raise UserError(f"{where}: must be a tuple of class names, it is {str(classes)[:60]!r}")
    names = list(classes)
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong or not names:
        problem = f"has {wrong[0]!r}, which is not a string" if wrong else "is empty"
        raise UserError(f"{where}: {problem}; write a tuple of class names, e.g. ('cat', 'dog')")
    if twice := [name for index, name in enumerate(names) if name in names[:index]]:
        raise UserError(f"{where}: names {some(map(repr, twice))} twice; name each class once")
    return names


def similar(name: str, known: Collection[str]) -> str:
    """List the known names most similar to an unknown one, ignoring case; if none is similar, list all."""
    folded: dict[str, list[str]] = {}
    for known_name in known:
        folded.setdefault(known_name.casefold(), []).append(known_name)
    near = difflib.get_close_matches(name.casefold(), folded, n=3)
    if near:
        return f"near matches: {', '.join(match for key in near for match in folded[key])}"
    return f"available names: {some(known, 20) or 'none'}"


def check_known(names: Iterable[str], known: Collection[str], where: str, place: str) -> None:
    """Check that all names are known.

    Args:
        names: the names to check.
        known: the known names.
        where: where ``names`` are given, used in the error message.
        place: where ``known`` come from, used in the error message.

    Raises:
        UserError: if a name is unknown; the message suggests near matches.
    """
    for name in names:
        if name not in known:
            raise UserError(f"{place}: lacks the class {name!r} of {where}; {similar(name, known)}")
