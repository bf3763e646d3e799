"""Darknet's network file (``.cfg``): text to sections and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detdiffusion.utils.errors import UserError

_REQUIRED = object()


@dataclass
class Section:
    """One ``[kind]`` with its ``key=value`` lines.

    Attributes:
        kind: name in the brackets, lower case.
        options: texts, as they stand in the file.
        where: for messages: file and line.
    """

    kind: str
    options: dict[str, str] = field(default_factory=dict)
    where: str = "built-in network"

    def integer(self, key: str, default: Any = _REQUIRED) -> int:
        """A whole number.

        Raises:
            UserError: missing without a default, or no whole number.
        """
        return self._one(key, default, int, "a whole number")

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        """A number; raises as :meth:`integer`."""
        return self._one(key, default, float, "a number")

    def integers(self, key: str) -> list[int]:
        """Whole numbers with commas between; raises as :meth:`integer`."""
        return [int(v) for v in self.numbers(key)]

    def numbers(self, key: str) -> list[float]:
        """Numbers with commas between; raises as :meth:`integer`."""
        text = self.text(key)
        try:
            return [float(v) for v in text.split(",") if v.strip()]
        except ValueError:
            raise self.error(f"'{key}' must be numbers with commas between, it is {text!r}") from None

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        """The text as it is; raises as :meth:`integer`."""
        value = self.options.get(key, default)
        if value is _REQUIRED:
            raise self.error(f"lacks '{key}'")
        return value

    def error(self, message: str) -> UserError:
        """An error that names this section."""
        return UserError(f"{self.where}: [{self.kind}] {message}")

    def _one(self, key: str, default, kind: type, what: str):
        text = self.text(key, default)
        try:
            return kind(text)
        except ValueError:
            raise self.error(f"'{key}' must be {what}, it is {text!r}") from None


@dataclass
class DarknetCfg:
    """A network file.

    Attributes:
        net: the ``[net]`` section.
        layers: the other sections; their place is the layer's number, which routes refer to.
        name: where it comes from.
    """

    net: Section
    layers: list[Section]
    name: str

    @property
    def input_size(self) -> tuple[int, int]:
        """``(width, height)`` of the network's input in pixels."""
        return self.net.integer("width", 416), self.net.integer("height", 416)

    def sources(self, index: int, key: str) -> list[int]:
        """Absolute numbers of the layers that layer ``index`` names under ``key``; -1 is not the image.

        Raises:
            UserError: one of them is not before the layer.
        """
        section = self.layers[index]
        numbers = [index + n if n < 0 else n for n in section.integers(key)]
        bad = [n for n in numbers if not 0 <= n < index]
        if bad or not numbers:
            raise section.error(
                f"of layer {index}: '{key}={section.text(key)}' must name layers before it (0 to {index - 1})"
            )
        return numbers

    def to_text(self) -> str:
        """The file's text; :func:`parse_cfg` gives the same sections back."""
        blocks = []
        for section in (self.net, *self.layers):
            blocks.append("\n".join([f"[{section.kind}]", *(f"{k}={v}" for k, v in section.options.items())]))
        return "\n\n".join(blocks) + "\n"


def read_cfg(path: str | Path) -> DarknetCfg:
    """Reads a network file.

    Raises:
        UserError: no such file, not text, or not a network file.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such darknet network file; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a darknet network file: {error}") from None
    return parse_cfg(text, str(path))


def parse_cfg(text: str, name: str = "cfg") -> DarknetCfg:
    """Parses a network file's text.

    Args:
        text: the file's content; ``#`` and ``;`` begin comments.
        name: for messages.

    Raises:
        UserError: a line is neither section nor ``key=value``, or ``[net]`` is not the first section.
    """
    sections: list[Section] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].split(";")[0].strip()
        if not line:
            continue
        where = f"{name}, line {number}"
        if line.startswith("[") and line.endswith("]"):
            sections.append(Section(line[1:-1].strip().lower(), where=where))
            continue
        key, separator, value = line.partition("=")
        if not separator or not sections:
            raise UserError(f"{where}: {line[:60]!r} is neither [section] nor key=value; is it a .cfg file?")
        sections[-1].options[key.strip()] = value.strip()
    if len(sections) < 2 or sections[0].kind not in ("net", "network"):
        raise UserError(f"{name}: not a darknet network file: [net] and layers are wanted, in this order")
    return DarknetCfg(sections[0], sections[1:], name)
