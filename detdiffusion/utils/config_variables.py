"""Variables of configs: a new value reaches every place that was built from the old one, by the variable's name.

A config file is Python: ``ann_file = data_root + 'val.json'`` is evaluated when the file is read, so mmengine's
``--cfg-options data_root=DIR`` alone would change the variable and nothing else. Here the files are evaluated anew,
and right after each statement of a file's top level that sets the variable it gets the new value. Whatever is written
with the name then follows: paths, f-strings, arithmetic, ``{{_base_.x}}`` and ``_base_.x``. A literal that only looks
like the old value stays.

* An option, ``data_root=DIR``, ``max_iters=70``, ``image_scale=(128,96)`` or ``metainfo.classes=(a,b)``, holds for
  all files of the config, json and yaml ones too. Its value is of the old one's kind: a number for a number, as many
  numbers for several.
* A name that a file sets and its bases use holds for the bases too, if it is a path (``data_root``, ``sd_folder``), or
  if the file itself makes nothing of it, as ``image_scale = (128, 96)`` alone in a file of one's own. (Another
  variable that the file uses is its own, as mmengine has it.)

Which names are variables is read from the files' syntax trees (:mod:`.config_files`). Configs that inherit by ``with
read_base():`` are out of reach: an option for a variable of theirs is an error. docs/guides/configs.md tells users.

Parts of a run (``model``, ``train_dataloader``, ...: :data:`.config_keys.READ`) are no variables; mmengine merges them.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .compat import rewritten_configs
from .config_files import ConfigFile, current_base, insert_after
from .config_keys import READ
from .errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

_ROUNDS = 4  # of evaluating a file whose variables build on each other through its bases
_OF_A_FILE = None  # in the place of an option's keys
_new_values: dict[tuple[str, str], dict[str | None, Any]] = {}


def variables(tree: ConfigFile) -> set[str]:
    """Names that a file of the config sets, some file of it uses, and no part of a run has."""
    files = list(tree.family())
    assigned, loaded = (
        set().union(*(getattr(file, kind) for file in files)) for kind in ("assigned", "loaded")
    )
    return (assigned & loaded) - READ


def evaluate(tree: ConfigFile, options: Mapping[str, Any], import_modules: bool = True) -> Config:
    """The config, with the new values of its variables in every place.

    Args:
        tree: its files.
        options: ``name`` or ``name.key...`` -> value, of :func:`variables`.
        import_modules: import what ``custom_imports`` names.

    Raises:
        UserError: an option's value is of another kind than the config's own.
        Exception: whatever comes out of the files.
    """
    given: dict[str, dict[str, Any]] = {}
    for key, value in options.items():
        name, _, rest = key.partition(".")
        given.setdefault(name, {})[rest] = value
    changes: dict[tuple[str, str], dict[str | None, Any]] = {}
    for file in tree.family():
        changes |= {(file.path, name): {_OF_A_FILE: value} for name, value in file.options.items()}
        changes |= {(file.path, name): given[name] for name in file.assigned & given.keys()}
    _inherit(tree, changes, given.keys())
    return _read(tree, changes, import_modules)


def _inherit(file: ConfigFile, changes: dict, given) -> None:
    """Adds what each file sets for its bases to ``changes``; a file nearer to the top wins."""
    below = list(dict.fromkeys(one for base in file.bases for one in base.family()))
    used = set().union(*(one.assigned for one in below)) & set().union(*(one.loaded for one in below))
    names = (file.assigned & used) - READ - given - file.extended
    for _ in range(_ROUNDS if names else 0):
        config, before = _read(file, changes, import_modules=False), dict(changes)
        for one in below:
            for name in names & one.assigned:
                value = config.get(name)
                if name not in file.loaded or _is_path(value):
                    changes[one.path, name] = {_OF_A_FILE: value}
        if changes == before:
            break
    for base in file.bases:
        _inherit(base, changes, {*given, *(name for path, name in changes if path == base.path)})


def _read(file: ConfigFile, changes: Mapping, import_modules: bool = True) -> Config:
    from mmengine.config import Config

    with _holding(changes):
        return Config.fromfile(file.path, import_custom_modules=import_modules)


@contextlib.contextmanager
def _holding(changes: Mapping) -> Iterator[None]:
    """While it lasts, config files are evaluated with the changes."""

    def rewrite(path: str, text: str) -> str:
        path = os.path.abspath(path)
        names = {name: _call(path, name) for file, name in changes if file == path}
        return insert_after(text, names) if names else text

    def adjust(path: str, values: dict) -> None:
        path = os.path.abspath(path)
        for file, name in changes:
            if file == path:
                values[name] = new_value(path, name, values[name])

    def locate(base: str, path: str) -> str:
        return current_base(base, path)[0]

    before = dict(_new_values)
    _new_values.clear()
    _new_values.update(changes)
    try:
        with rewritten_configs(rewrite, adjust, locate):
            yield
    finally:
        _new_values.clear()
        _new_values.update(before)


def _call(path: str, name: str) -> str:
    return f"{name} = __import__({__name__!r}, fromlist=['_']).new_value({path!r}, {name!r}, {name})"


def new_value(path: str, name: str, old: Any) -> Any:
    """What stands in the place of a variable's value; config files call it while they are evaluated."""
    changed = copy.deepcopy(old)
    for rest, value in _new_values[path, name].items():
        if rest:
            changed = _merged(name, changed, rest, value)
            continue
        if rest is not _OF_A_FILE:
            _check_kind(name, old, value)
        changed = _in_form(old, copy.deepcopy(value))
    return changed


def _merged(name: str, old: Any, rest: str, value: Any) -> Any:
    """``old`` with the item at ``rest`` replaced, mmengine's way."""
    from mmengine.config import Config

    if not isinstance(old, (dict, list, tuple)):
        raise UserError(f"{name}.{rest}={value}: {name} is {old!r} in the config, it has no items")
    was_tuple = isinstance(old, tuple)
    holder = Config(dict(value=list(old) if was_tuple else old))
    try:
        holder.merge_from_dict({f"value.{rest}": value})
    except (KeyError, TypeError, AssertionError, IndexError) as error:
        raise UserError(f"{name}.{rest}={value}: {error}") from error
    return tuple(holder.value) if was_tuple else holder.value


def _in_form(old: Any, new: Any) -> Any:
    """A tuple stays one, a list too, and a path keeps its slash at the end, or none."""
    if type(old) in (list, tuple) and isinstance(new, (list, tuple)):
        return type(old)(new)
    if _is_path(old) and isinstance(new, str) and new:
        return new.rstrip("/") + "/" if old.endswith("/") else new.rstrip("/") or "/"
    return new


def _check_kind(name: str, old: Any, new: Any) -> None:
    """
    Raises:
        UserError: the new value is of another kind: a text for a number, one number for two.
    """
    if old is None or new is None or isinstance(old, dict) or isinstance(new, dict):
        return
    example = old
    if isinstance(old, (list, tuple)):
        fits = isinstance(new, (list, tuple))
        if old and all(map(_is_number, old)):
            fits = fits and len(new) == len(old) and all(map(_is_number, new))
        text = ",".join(str(value).replace(" ", "") for value in old[:4])
        example = f"({text}{',...' if len(old) > 4 else ''})"
    elif isinstance(old, bool):
        fits = isinstance(new, bool)
    elif isinstance(old, int):
        fits = _is_number(new) and float(new).is_integer()
    elif isinstance(old, float):
        fits = _is_number(new)
    else:
        fits = not isinstance(old, str) or not isinstance(new, (list, tuple, bool))
    if not fits:
        raise UserError(
            f"{name}={new}: {name} is {old!r} in the config, write a value of that kind, like {name}={example}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_path(value: Any) -> bool:
    """A text with a slash inside; a bare word is too likely to stand for something else."""
    return isinstance(value, str) and "/" in value.rstrip("/")
