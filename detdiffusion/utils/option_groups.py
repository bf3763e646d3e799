"""Groups of settings as dataclasses whose fields are also command-line flags, so that each is defined only once.

.. code-block:: python

    @documented
    @dataclass(frozen=True, kw_only=True)
    class Sampling(OptionGroup):
        steps: int = option(50, "denoising steps, default: %(default)s", minimum=1)

    add_options(parser, Sampling)                         # --steps
    sampling = build_options(Sampling, parser.parse_args())
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from .errors import UserError

_KEY = "option"
_Group = TypeVar("_Group", bound="OptionGroup")


@dataclasses.dataclass(frozen=True)
class _Option:
    """A field's metadata about its flag, see :func:`option`."""

    help: str
    flag: str | None
    metavar: str | tuple[str, ...] | None
    nargs: int | str | None
    repeat: bool
    positional: bool
    choices: Sequence[str] | None
    minimum: float | None
    maximum: float | None
    below: float | None


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    flag: str | None = None,
    metavar: str | tuple[str, ...] | None = None,
    nargs: int | str | None = None,
    repeat: bool = False,
    positional: bool = False,
    choices: Sequence[str] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
) -> Any:
    """Define a dataclass field that is also a command-line flag.

    The flag's value is converted to int or float if the field's type contains one of them. A bool, False by default,
    is a flag without a value.

    Args:
        default: as for :func:`dataclasses.field`; without one the flag is required.
        help: help text of the flag and documentation of the field; refers to other fields of the group in backticks.
        flag: the flag's name; by default the field's name with dashes.
        metavar, nargs, choices: as for :meth:`argparse.ArgumentParser.add_argument`.
        repeat: whether the flag may be repeated; its values are collected in a list.
        positional: whether it is a positional argument instead of a flag.
        minimum, maximum, below: limits of a number; ``below`` is exclusive.
    """
    spec = _Option(help, flag, metavar, nargs, repeat, positional, choices, minimum, maximum, below)
    return dataclasses.field(default=default, metadata={_KEY: spec})


class OptionGroup:
    """Base class of the groups; checks the choices and limits of its fields on construction.

    Raises:
        UserError: if a value is not allowed; the message gives the field's name in backticks.
    """

    def __post_init__(self) -> None:
        for field, spec in _options(type(self)):
            value = getattr(self, field.name)
            if value is None:
                continue
            if isinstance(value, str) and (spec.repeat or spec.nargs in ("+", "*")):
                raise UserError(f"`{field.name}` must be a list, it is {value!r}")
            if spec.choices is not None:
                for one in value if isinstance(value, (list, tuple)) else [value]:
                    if one not in spec.choices:
                        raise UserError(
                            f"`{field.name}` must be one of {', '.join(spec.choices)}, it is {one!r}"
                        )
            if limits := _limits(spec):
                _check_number(field.name, value, spec, limits)


def documented(group: type[_Group]) -> type[_Group]:
    """Class decorator that appends the fields and their help texts to the docstring of a group."""
    lines = []
    for field, spec in _options(group):
        lines.append(f"    {field.name}: {spec.help % dict(default=field.default)}")
    group.__doc__ = "\n".join([(group.__doc__ or "").rstrip(), "", "Attributes:", *lines])
    return group


def add_options(parser: argparse._ActionsContainer, group: type[OptionGroup]) -> None:
    """Add the flags of a group to a parser or to one of its argument groups; inherited fields come last."""
    hints = get_type_hints(group)
    flags = {field.name: _flag(field, spec) for field, spec in _options(group)}
    declared_here = group.__dict__.get("__annotations__", {})
    for field, spec in sorted(_options(group), key=lambda pair: pair[0].name not in declared_here):
        default = None if field.default is dataclasses.MISSING else field.default
        settings: dict[str, Any] = dict(help=with_flags(spec.help, flags), default=default)
        if hints[field.name] is bool:
            settings["action"] = "store_true"
        else:
            given = dict(metavar=spec.metavar, nargs=spec.nargs, choices=spec.choices)
            settings.update({name: value for name, value in given.items() if value is not None})
            settings["type"] = _scalar(hints[field.name])
            if spec.repeat:
                settings["action"] = "append"
        if spec.positional:
            parser.add_argument(field.name, **settings)
            continue
        if field.default is dataclasses.MISSING:
            settings["required"] = True
        parser.add_argument(flags[field.name], dest=field.name, **settings)


def build_options(group: type[_Group], args: argparse.Namespace, **values: Any) -> _Group:
    """Build a group from parsed arguments.

    Args:
        group: class of the group.
        args: arguments parsed with the flags of :func:`add_options`; flags that were not given keep the field's
            default.
        values: field values that override the parsed ones.

    Raises:
        UserError: if the group rejects a value.
    """
    parsed = {field.name: getattr(args, field.name, None) for field in dataclasses.fields(group)}
    return group(**{**{name: value for name, value in parsed.items() if value is not None}, **values})


def _options(group: type) -> list[tuple[dataclasses.Field, _Option]]:
    return [(field, field.metadata[_KEY]) for field in dataclasses.fields(group) if _KEY in field.metadata]


def with_flags(text: str, flags: Mapping[str, str]) -> str:
    """Replace argument names in backticks by the corresponding flags.

    Args:
        text: any text.
        flags: argument name -> flag; other names are left unchanged.
    """
    return re.sub(r"`(\w+)`", lambda found: flags.get(found[1], found[0]), text)


def _flag(field: dataclasses.Field, spec: _Option) -> str:
    return spec.flag or "--" + field.name.replace("_", "-")


def _scalar(hint: Any) -> type | None:
    """Return the type to convert a flag's text to: int or float if the hint contains one of them, else None."""
    leaves, pending = set(), [hint]
    while pending:
        hint = pending.pop()
        if get_origin(hint) is not Mapping:  # written as NAME=VALUE
            pending += get_args(hint)
        leaves.add(hint)
    return next((kind for kind in (float, int) if kind in leaves), None)


def _limits(spec: _Option) -> str:
    parts = [
        f"at least {spec.minimum:g}" if spec.minimum is not None else "",
        f"at most {spec.maximum:g}" if spec.maximum is not None else "",
        f"below {spec.below:g}" if spec.below is not None else "",
    ]
    return " and ".join(filter(None, parts))


def _check_number(name: str, value: Any, spec: _Option, limits: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"`{name}` must be a number, it is {value!r}")
    inside = (
        (spec.minimum is None or value >= spec.minimum)
        and (spec.maximum is None or value <= spec.maximum)
        and (spec.below is None or value < spec.below)
    )
    if not inside:
        raise UserError(f"`{name}` must be {limits}, it is {value}")
