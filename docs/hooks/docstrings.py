"""Docstrings as the reference shows them: fields of option groups with their help, roles of Sphinx as plain names."""

from __future__ import annotations

import re

import griffe

ROLE = re.compile(r":\w+:`~?([^`]+)`")


class Docstrings(griffe.Extension):
    """A griffe extension; ``mkdocs.yml`` names it."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        """Rewrite the docstring of a module, class, function or attribute once it is read."""
        if obj.is_attribute and obj.docstring is None and (text := _help_of(obj.value)):
            obj.docstring = griffe.Docstring(text, parent=obj)
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(lambda found: f"`{found[1].lstrip('.')}`", obj.docstring.value)


def _help_of(value: object) -> str | None:
    """Return the help text of a field that is defined by ``option(default, help, ...)``."""
    if not isinstance(value, griffe.ExprCall) or str(value.function) != "option":
        return None
    for i, argument in enumerate(value.arguments):
        if isinstance(argument, griffe.ExprKeyword):
            if argument.name == "help":
                return _text(argument.value)
        elif i == 1:
            return _text(argument)
    return None


def _text(expression: object) -> str | None:
    try:
        text = str(eval(str(expression), {"__builtins__": {}}))  # a string literal of our own source
    except Exception:  # made of variables: the reference shows the field without a text
        return None
    return text.replace("; default: %(default)s", "").replace(", default: %(default)s", "").replace("%%", "%")
