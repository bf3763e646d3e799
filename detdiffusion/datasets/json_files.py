"""Reading json: one clear error for a bad file, and large COCO files without their segmentations in memory."""

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
    """Parses a json file.

    Args:
        path: the file.
        what: how an error names it.

    Raises:
        UserError: the file is missing, unreadable, not UTF-8 text or not valid json, or has a key twice with different
            values.
    """
    return _parse(Path(path), what, _loads)


def load_with_spans(path: str | Path, lighten: Callable[[dict], dict]) -> Any:
    """Parses a COCO json; of each annotation it keeps a part, and ``span``: where it lies in the file.

    Segmentations are most of a COCO file: parsed one at a time and let go, they take no memory.

    Args:
        path: the file.
        lighten: of each annotation, in the file's order, the part that is kept.

    Returns:
        As :func:`load_json`; ``span`` is (start, end) in the file's bytes, json text of one object.

    Raises:
        UserError: as :func:`load_json`.
    """
    return _parse(Path(path), "COCO json file", partial(_load_spans, lighten=lighten))


def _parse(path: Path, what: str, loads: Callable[[str], Any]) -> Any:
    if path.is_dir():
        raise UserError(f"{path}: is a folder, but a {what} is wanted; name the file inside it")
    try:
        text = path.read_bytes().decode()  # as it is: offsets must be those of the file
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
        raise UserError(f"{path}: {err}; a {what} has each key once") from None
    except json.JSONDecodeError as err:
        raise UserError(
            f"{path}: broken json at line {err.lineno}, column {err.colno}: {err.msg}; "
            "the file may be cut off: fetch or write it again"
        ) from None
    except RecursionError:
        raise UserError(f"{path}: not a {what}: nested too deeply") from None


@contextmanager
def collector_off() -> Iterator[None]:
    """For code that makes millions of lists and no garbage: the collector would walk them again and again."""
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
    """An object; of two different values under one key json's own reader would drop the first in silence."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        for key, value in pairs:
            if entries[key] != value:
                shown = " and ".join(str(one)[:40] for one in (value, entries[key]))
                raise UserError(f"the key {key!r} occurs twice in one object, with {shown}")
    return entries


def _load_spans(text: str, lighten: Callable[[dict], dict]) -> Any:
    """Walks the top level and the list of annotations itself; anything unexpected is left to ``json.loads``, for
    its error message.
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
            if text.startswith(", {", end):  # as json.dump writes it: no search for spaces
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
