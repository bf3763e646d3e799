"""Docstrings as the reference shows them: fields of option groups with their help, roles of Sphinx as plain names."""

from __future__ import annotations

import ast
import re

import griffe

ROLE = re.compile(r":\w+:`~?([^`]+)`")
DEFAULT = re.compile(r"[;,]? default: %\(default\)s")  # the reference shows the default beside the text


class Docstrings(griffe.Extension):
    """A griffe extension; ``mkdocs.yml`` names it."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **kwargs) -> None:
        """Give a field of an option group its default and its help, before griffe writes the group's signature."""
        if _is_option(attr.value):
            arguments = _arguments(attr.value)
            attr.value = arguments.get("default")
            text = _text(arguments.get("help"))
            if text and attr.docstring is None:
                attr.docstring = griffe.Docstring(text, parent=attr)

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        """Replace roles of Sphinx in a docstring."""
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(lambda found: f"`{found[1].lstrip('.')}`", obj.docstring.value)


def _is_option(value: object) -> bool:
    """Return whether a field of a dataclass is defined by ``option(default, help, ...)``."""
    return isinstance(value, griffe.ExprCall) and str(value.function) == "option"


def _arguments(call: griffe.ExprCall) -> dict[str, object]:
    """Return the call's ``default`` and ``help``, by position or by name; those of ``**COMMON`` are not seen."""
    named = {a.name: a.value for a in call.arguments if isinstance(a, griffe.ExprKeyword)}
    placed = [a for a in call.arguments if not isinstance(a, (griffe.ExprKeyword, griffe.ExprVarKeyword))]
    return dict(zip(("default", "help"), placed)) | named


def _text(expression: object) -> str | None:
    try:
        text = ast.literal_eval(str(expression))
    except ValueError:  # made of variables: the field is shown without a text
        return None
    return DEFAULT.sub("", text or "").replace("%%", "%")
