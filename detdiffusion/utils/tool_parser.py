"""The argument parser of all tools, with examples in the help text and support for deprecated arguments.

Deprecated forms of arguments are declared by :meth:`ToolParser.renamed` and :meth:`ToolParser.moved` only. They are
hidden from ``--help``, print a note when used, and will be removed in the next version.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import UserError


class ToolParser(argparse.ArgumentParser):
    """A parser whose help text consists of a tool's description, its flags and examples.

    Args:
        description: what the tool does.
        examples: text shown below the flags.
    """

    def __init__(self, description: str, examples: str) -> None:
        super().__init__(
            description=description, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self._new_names: dict[str, str] = {}
        self._moved: tuple[argparse.Action, argparse.Action, bool] | None = None

    def renamed(self, old: str, new: str) -> None:
        """Accept a flag's deprecated name.

        Args:
            old, new: old and new name, as ``--name``.
        """
        self._new_names[old] = new

    def moved(self, flag: str) -> None:
        """Accept positional arguments, as in the last version, as the values of a flag.

        Args:
            flag: a flag, already added, that may be repeated or takes a fixed number of values.
        """
        action = self._option_string_actions[flag]
        place = self.add_argument(f"_{action.dest}", nargs="*", help=argparse.SUPPRESS)
        self._moved = (action, place, action.required)
        action.required = False  # the values may be given as positional arguments

    def parse_args(self, args: Sequence[str] | None = None, namespace=None) -> argparse.Namespace:
        """As :meth:`argparse.ArgumentParser.parse_args`."""
        args = [self._renew(text) for text in (sys.argv[1:] if args is None else args)]
        if self._moved is None:
            return super().parse_args(args, namespace)
        parsed = self.parse_intermixed_args(args, namespace)
        self._move(parsed)
        return parsed

    def flags(self) -> dict[str, str]:
        """Return a mapping from each argument's name in Python to its name on the command line."""
        flags = {}
        for action in self._actions:
            if action.help is argparse.SUPPRESS:
                continue
            if action.option_strings:
                flags[action.dest] = action.option_strings[-1]
            else:
                flags[action.dest] = str(action.metavar or action.dest)
        return flags

    def _renew(self, text: str) -> str:
        name, equals, value = text.partition("=")
        if name not in self._new_names:
            return text
        new = self._new_names[name]
        _note(f"{name} is called {new} now")
        return new + equals + value

    def _move(self, parsed: argparse.Namespace) -> None:
        """Store values that were given as positional arguments as the values of their flag."""
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


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` and ``--local-rank`` for mmengine's runners."""
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        help="what started the processes (default: pytorch, i.e. torchrun, if it started several processes)",
    )
    parser.add_argument("--local-rank", "--local_rank", type=int, default=0, help=argparse.SUPPRESS)


def add_sets(parser: argparse.ArgumentParser, help: str) -> None:
    """Add ``--synthetic``: folders of generated images and their names in tables; see :func:`named_sets`."""
    parser.add_argument("--synthetic", nargs="+", required=True, metavar="[NAME=]DIR", help=help)


def add_export(parser: argparse.ArgumentParser, out: str) -> None:
    """Add the sets of a converter to another program's format, and ``--out``, whose help text is ``out``."""
    parser.add_argument("sources", nargs="+", metavar="[SPLIT=]SOURCE", help="the sets to convert")
    parser.add_argument("--out", required=True, metavar="DIR", help=out)
    parser.add_argument(
        "--img-dir", metavar="DIR", help="folder of the images of COCO jsons (default: found beside them)"
    )
    parser.add_argument(
        "--images",
        choices=("link", "copy", "none"),
        default="link",
        help="how images are put into OUT, default: %(default)s",
    )


def add_forms(parser: argparse.ArgumentParser) -> None:
    """Add what a set of any form may need to be told: ``--task`` for YOLO, ``--one-based`` for VOC."""
    parser.add_argument(
        "--task",
        choices=["auto", "detect", "segment", "pose"],
        default="auto",
        help="for YOLO: meaning of lines with more than five columns, see yolo_to_coco.py",
    )
    parser.add_argument(
        "--one-based",
        action="store_true",
        help="for VOC: coordinates start at 1, and the maximum is part of the box",
    )


def named_sets(texts: Sequence[str]) -> dict[str, str]:
    """Parse ``[NAME=]DIR`` arguments to a dict name -> folder; the name defaults to the folder's.

    Raises:
        UserError: if a name or folder is empty, or a name is given twice.
    """
    pairs = [text.partition("=")[::2] if "=" in text else (Path(text).name, text) for text in texts]
    if not all(name and folder for name, folder in pairs):
        raise UserError(f"`synthetic` takes DIR or NAME=DIR, got {' '.join(texts)}")
    if len(dict(pairs)) != len(pairs):
        raise UserError("`synthetic`: every name must be unique; give names by NAME=DIR")
    return dict(pairs)


def _note(text: str) -> None:
    print(f"note: {text}; the next version will not accept the old form", file=sys.stderr, flush=True)
