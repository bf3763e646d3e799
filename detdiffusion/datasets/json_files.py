"""Reading json files with clear errors, and large COCO files without keeping their segmentations in memory."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from detdiffusion.utils.errors import UserError

_BOM = "\ufeff"
_skip_space = re.compile(r"[ \t\n\r]*").match


def load_json(path: str | Path, what: str = "COCO json file") -> Any:
    """Parse a json file.

    Args:
        path: the file.
        what: the kind of file, used in error messages.

    Raises:
        UserError: if the file is missing, unreadable, not UTF-8 text or not valid json, or has a key twice with
            different values.
    """
    return _parse(Path(path), what, _loads)


def load_with_spans(path: str | Path, lighten: Callable[[dict], dict]) -> Any:
    """Parse a COCO json and reduce each annotation to a part and its ``span``, its position in the file.

    Segmentations make up most of a COCO file; since annotations are parsed and reduced one at a time, they take no
    memory.

    Args:
        path: the file.
        lighten: returns the part of an annotation to keep; called in the file's order.

    Returns:
        As :func:`load_json`; the ``span`` of an annotation is the (start, end) of its json text in the file's bytes.

    Raises:
        UserError: as :func:`load_json`.
    """
    return _parse(Path(path), "COCO json file", partial(_load_spans, lighten=lighten))


def _parse(path: Path, what: str, loads: Callable[[str], Any]) -> Any:
    if path.is_dir():
        raise UserError(f"{path}: is a folder, not a {what}; give the path of the file inside it")
    try:
        # without newline translation, because offsets must be those of the file
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise UserError(f"{path}: no such {what}; check the path") from None
    except UnicodeDecodeError as err:
        raise UserError(f"{path}: not a {what}: not UTF-8 text ({err.reason} at byte {err.start})") from None
    except OSError as err:
        raise UserError(f"{path}: cannot read this {what}: {err.strerror}") from None
    try:
        with collector_off():
            return loads(text)
    except UserError as err:
        raise UserError(f"{path}: {err}; keys of a {what} must be unique") from None
    except json.JSONDecodeError as err:
        raise UserError(
            f"{path}: broken json at line {err.lineno}, column {err.colno}: {err.msg}; "
            "the file may be cut off: fetch or write it again"
        ) from None
    except RecursionError:
        raise UserError(f"{path}: not a {what}: nested too deeply") from None


@contextmanager
def collector_off() -> Iterator[None]:
    """Context manager that disables garbage collection, for code that creates millions of objects but no garbage."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _loads(text: str) -> Any:
    return json.loads(text.removeprefix(_BOM), object_pairs_hook=_with_each_key_once)


def _with_each_key_once(pairs: list[tuple[str, Any]]) -> dict:
    """Build a dict, and raise if a key has two different values (the json module would silently drop the first)."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        for key, value in pairs:
            if entries[key] != value:
                shown = " and ".join(str(shown_value)[:40] for shown_value in (value, entries[key]))
                raise UserError(f"the key {key!r} occurs twice in one object, with the values {shown}")
    return entries


def _load_spans(text: str, lighten: Callable[[dict], dict]) -> Any:
    """Parse the top level and the list of annotations step by step; on anything unexpected, fall back to
    ``json.loads`` for its error message.
    """
    scan = json.JSONDecoder(object_pairs_hook=_with_each_key_once).scan_once
    ascii_only, counted, shift = text.isascii(), 0, 0  # shift: bytes minus characters up to `counted`

    def offset(at: int) -> int:
        nonlocal shift, counted
        if not ascii_only:
            part = text[counted:at]
            shift, counted = shift + len(part.encode()) - len(part), at
        return at + shift

    def after_space(at: int) -> int:
        return _skip_space(text, at).end()

    def annotations(at: int) -> tuple[list, int]:
        found = []
        at = after_space(at + 1)
        while text[at] != "]":
            entry, end = scan(text, at)
            if not isinstance(entry, dict):
                raise ValueError
            light = lighten(entry)
            light["span"] = (at, end) if ascii_only else (offset(at), offset(end))
            found.append(light)
            if text.startswith(", {", end):  # json.dump's format: no need to skip spaces
                at = end + 2
                continue
            at = after_space(end)
            if text[at] == ",":
                at = after_space(at + 1)
                if text[at] == "]":
                    raise ValueError
            elif text[at] != "]":
                raise ValueError
        return found, at + 1

    try:
        data = {}
        at = after_space(text.startswith(_BOM))
        if text[at] != "{":
            raise ValueError
        at = after_space(at + 1)
        while text[at] != "}":
            key, at = scan(text, at)
            at = after_space(at)
            if not isinstance(key, str) or text[at] != ":":
                raise ValueError
            if key in data:
                raise UserError(f"the key {key!r} occurs twice")
            at = after_space(at + 1)
            is_list = key == "annotations" and text[at] == "["
            data[key], at = annotations(at) if is_list else scan(text, at)
            at = after_space(at)
            if text[at] == ",":
                at = after_space(at + 1)
                if text[at] == "}":
                    raise ValueError
            elif text[at] != "}":
                raise ValueError
        if after_space(at + 1) != len(text):
            raise ValueError
        return data
    except UserError:
        raise
    except (ValueError, StopIteration, IndexError):
        return _loads(text)
