"""Groups of settings as dataclasses whose fields are flags of the command line: each is named and explained once.

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
    """What a field's metadata says of its flag, see :func:`option`."""

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
    """A dataclass field that is a flag too.

    The flag converts to int or float where the field's type has one of them. A bool, False by
    default, is a flag without a value.

    Args:
        default: as for :func:`dataclasses.field`; without one the flag is required.
        help: of the flag and of the field; names other fields of the group in backticks.
        flag: default: the field's name with dashes.
        metavar, nargs, choices: as for :meth:`argparse.ArgumentParser.add_argument`.
        repeat: the flag may be repeated; its values make a list.
        positional: an argument without a flag.
        minimum, maximum, below: limits of a number, the last one exclusive.
    """
    spec = _Option(help, flag, metavar, nargs, repeat, positional, choices, minimum, maximum, below)
    return dataclasses.field(default=default, metadata={_KEY: spec})


class OptionGroup:
    """Base of the groups: checks choices and limits of its fields when it is made.

    Raises:
        UserError: a value outside of what its field allows; names the field in backticks.
    """

    def __post_init__(self) -> None:
        for field, spec in _options(type(self)):
            value = getattr(self, field.name)
            if value is None:
                continue
            if spec.choices is not None and value not in spec.choices:
                raise UserError(f"`{field.name}` must be one of {', '.join(spec.choices)}, it is {value!r}")
            if limits := _limits(spec):
                _check_number(field.name, value, spec, limits)


def documented(group: type[_Group]) -> type[_Group]:
    """Lists the fields with their help in the docstring of a group."""
    lines = []
    for field, spec in _options(group):
        lines.append(f"    {field.name}: {spec.help % dict(default=field.default)}")
    group.__doc__ = "\n".join([(group.__doc__ or "").rstrip(), "", "Attributes:", *lines])
    return group


def add_options(parser: argparse._ActionsContainer, group: type[OptionGroup]) -> None:
    """Adds the flags of a group to a parser or to one of its argument groups; inherited fields come last."""
    hints = get_type_hints(group)
    flags = {field.name: _flag(field, spec) for field, spec in _options(group)}
    own = group.__dict__.get("__annotations__", {})
    for field, spec in sorted(_options(group), key=lambda pair: pair[0].name not in own):
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
    """The group from parsed arguments.

    Args:
        group: its class.
        args: has the flags of :func:`add_options`; one that was not given leaves the field's default.
        values: of fields, in place of the parsed ones.

    Raises:
        UserError: values that the group refuses.
    """
    parsed = {field.name: getattr(args, field.name, None) for field in dataclasses.fields(group)}
    return group(**{**{name: value for name, value in parsed.items() if value is not None}, **values})


def _options(group: type) -> list[tuple[dataclasses.Field, _Option]]:
    return [(field, field.metadata[_KEY]) for field in dataclasses.fields(group) if _KEY in field.metadata]


def with_flags(text: str, flags: Mapping[str, str]) -> str:
    """A text in which arguments, named in backticks, are named by their flags.

    Args:
        text: any.
        flags: name of an argument -> its flag; other names stay.
    """
    return re.sub(r"`(\w+)`", lambda found: flags.get(found[1], found[0]), text)


def _flag(field: dataclasses.Field, spec: _Option) -> str:
    return spec.flag or "--" + field.name.replace("_", "-")


def _scalar(hint: Any) -> type | None:
    """What a flag's text becomes: int or float where the type has one of them, else None, and it stays text."""
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
