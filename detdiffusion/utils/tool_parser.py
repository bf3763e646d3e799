"""The argument parser of every tool: its examples, the names that flags had in the last version, and names of flags.

Old names and places of arguments are declared by :meth:`ToolParser.renamed` and :meth:`ToolParser.moved` alone; both
are left out of ``--help``, print one line when they are used, and go with the next version.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import UserError


class ToolParser(argparse.ArgumentParser):
    """A parser whose help is a tool's docstring and examples.

    Args:
        description: what the tool does.
        examples: shown below the flags.
    """

    def __init__(self, description: str, examples: str) -> None:
        super().__init__(
            description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self._new_names: dict[str, str] = {}
        self._moved: tuple[argparse.Action, argparse.Action, bool] | None = None

    def renamed(self, old: str, new: str) -> None:
        """Takes a flag's old name for the new one.

        Args:
            old, new: ``--name``.
        """
        self._new_names[old] = new

    def moved(self, flag: str) -> None:
        """Takes arguments without a flag, as the last version had them, for the values of a flag.

        Args:
            flag: repeated, or with a fixed number of values; declared already.
        """
        action = self._option_string_actions[flag]
        place = self.add_argument(f"_{action.dest}", nargs="*", help=argparse.SUPPRESS)
        self._moved = (action, place, action.required)
        action.required = False  # as long as the values may be given without it

    def parse_args(self, args: Sequence[str] | None = None, namespace=None) -> argparse.Namespace:
        """As :meth:`argparse.ArgumentParser.parse_args`."""
        args = [self._renew(text) for text in (sys.argv[1:] if args is None else args)]
        if self._moved is None:
            return super().parse_args(args, namespace)
        parsed = self.parse_intermixed_args(args, namespace)
        self._move(parsed)
        return parsed

    def flags(self) -> dict[str, str]:
        """Argument's name in Python -> how a user of the command line knows it."""
        return {
            action.dest: action.option_strings[-1]
            if action.option_strings
            else str(action.metavar or action.dest)
            for action in self._actions
            if action.help is not argparse.SUPPRESS
        }

    def _renew(self, text: str) -> str:
        name, equals, value = text.partition("=")
        if name not in self._new_names:
            return text
        new = self._new_names[name]
        _note(f"{name} is called {new} now")
        return new + equals + value

    def _move(self, parsed: argparse.Namespace) -> None:
        """Puts values that were given by their place where their flag has its values."""
        action, place, required = self._moved
        values = vars(parsed).pop(place.dest)
        if values:
            count = action.nargs if isinstance(action.nargs, int) else None
            if getattr(parsed, action.dest) is not None or count not in (None, len(values)):
                self.error(f"unrecognized arguments: {' '.join(values)}")
            setattr(parsed, action.dest, values)
            _note(
                f"{' '.join(values)}: give {'it' if len(values) == 1 else 'them'} by {action.option_strings[0]} now"
            )
        elif required and getattr(parsed, action.dest) is None:
            self.error(f"the following arguments are required: {action.option_strings[0]}")


def add_sets(parser: argparse.ArgumentParser, help: str) -> None:
    """``--synthetic``: folders of generated images, named in tables; see :func:`named_sets`."""
    parser.add_argument("--synthetic", nargs="+", required=True, metavar="[NAME=]DIR", help=help)


def named_sets(texts: Sequence[str]) -> dict[str, str]:
    """Name -> folder of ``[NAME=]DIR``; the name is the folder's where none is given.

    Raises:
        UserError: an empty name or folder, or a name twice.
    """
    pairs = [text.partition("=")[::2] if "=" in text else (Path(text).name, text) for text in texts]
    if not all(name and folder for name, folder in pairs):
        raise UserError(f"`synthetic` takes DIR or NAME=DIR, got {' '.join(texts)}")
    if len(dict(pairs)) != len(pairs):
        raise UserError("`synthetic`: every name once; give names by NAME=DIR")
    return dict(pairs)


def _note(text: str) -> None:
    print(f"note: {text}; the next version will not know the old form", file=sys.stderr, flush=True)
