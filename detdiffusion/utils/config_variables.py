"""Config variables: overriding a variable also updates everything that the config computes from it.

A config file is Python: ``ann_file = data_root + 'val.json'`` is evaluated when the file is read, so mmengine's
``--cfg-options data_root=DIR`` alone would change only the variable itself. This module evaluates the files again and
assigns the new value right after each top-level statement that sets the variable. Everything computed from the name
follows: paths, f-strings, arithmetic, ``{{_base_.x}}`` and ``_base_.x``. A literal that happens to equal the old value
does not change.

* An option, ``data_root=DIR``, ``max_iters=70``, ``image_scale=(128,96)`` or ``metainfo.classes=(a,b)``, applies to all
  files of the config, including json and yaml. Its value must have the type of the old one: a number for a number, and
  a sequence of numbers of the same length for a sequence.
* A name that a file sets and its bases use also applies to the bases, if it is a path (``data_root``, ``sd_folder``) or
  if the file itself does not use it, e.g. ``image_scale = (128, 96)`` alone in a user's file. (Any other variable that
  the file uses is local to it, as in mmengine.)

The names of variables are read from the files' syntax trees (:mod:`.config_files`). Configs that inherit by ``with
read_base():`` are not supported: an option for one of their variables is an error. See docs/guides/configs.md for the
user's guide.

Components of a run (``model``, ``train_dataloader``, ...: :data:`.config_keys.READ`) are not variables; mmengine merges
them.
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

_ROUNDS = 4  # maximum number of evaluations of a file whose variables depend on each other through its bases
_OF_A_FILE = None  # replaces an option's dotted keys where a file, not an option, sets the value
_new_values: dict[tuple[str, str], dict[str | None, Any]] = {}


def variables(tree: ConfigFile) -> set[str]:
    """Return the names that some file of the config sets and some file uses, except keys that a run reads."""
    files = list(tree.family())
    assigned = set().union(*(file.assigned for file in files))
    loaded = set().union(*(file.loaded for file in files))
    return (assigned & loaded) - READ


def evaluate(tree: ConfigFile, options: Mapping[str, Any], import_modules: bool = True) -> Config:
    """Evaluate a config with new values of its variables.

    Args:
        tree: the files of the config.
        options: ``name`` or ``name.key...`` -> value; the names must be in :func:`variables`.
        import_modules: whether to import the modules in ``custom_imports``.

    Raises:
        UserError: if an option's value has a different type than the value in the config.
        Exception: whatever the files raise.
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
    """Adds the variables that each file overrides in its bases to ``changes``; derived files take precedence."""
    below = list(dict.fromkeys(lower for base in file.bases for lower in base.family()))
    used = set().union(*(lower.assigned for lower in below)) & set().union(*(lower.loaded for lower in below))
    names = (file.assigned & used) - READ - given - file.extended
    for _ in range(_ROUNDS if names else 0):
        config, before = _read(file, changes, import_modules=False), dict(changes)
        for lower in below:
            for name in names & lower.assigned:
                value = config.get(name)
                if name not in file.loaded or _is_path(value):
                    changes[lower.path, name] = {_OF_A_FILE: value}
        if changes == before:
            break
    for base in file.bases:
        _inherit(base, changes, {*given, *(name for path, name in changes if path == base.path)})


def _read(file: ConfigFile, changes: Mapping, import_modules: bool = True) -> Config:
    from mmengine.config import Config

    with _overriding(changes):
        return Config.fromfile(file.path, import_custom_modules=import_modules)


@contextlib.contextmanager
def _overriding(changes: Mapping) -> Iterator[None]:
    """Context manager under which config files are evaluated with the changes."""

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
    """Return the value that replaces a variable's; config files call this function during evaluation."""
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
    """Return ``old`` with the item at ``rest`` replaced, following mmengine's merging rules."""
    from mmengine.config import Config

    if not isinstance(old, (dict, list, tuple)):
        raise UserError(f"{name}.{rest}={value}: {name} is {old!r} in the config and has no items")
    was_tuple = isinstance(old, tuple)
    holder = Config(dict(value=list(old) if was_tuple else old))
    try:
        holder.merge_from_dict({f"value.{rest}": value})
    except (KeyError, TypeError, AssertionError, IndexError) as error:
        raise UserError(f"{name}.{rest}={value}: {error}") from error
    return tuple(holder.value) if was_tuple else holder.value


def _in_form(old: Any, new: Any) -> Any:
    """Convert ``new`` to the form of ``old``: tuple or list, and with or without a trailing slash for a path."""
    if type(old) in (list, tuple) and isinstance(new, (list, tuple)):
        return type(old)(new)
    if _is_path(old) and isinstance(new, str) and new:
        return new.rstrip("/") + "/" if old.endswith("/") else new.rstrip("/") or "/"
    return new


def _check_kind(name: str, old: Any, new: Any) -> None:
    """Check that a new value has the type of the old one.

    Raises:
        UserError: if it has not, e.g. a string for a number, or one number for two.
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
            f"{name}={new}: {name} is {old!r} in the config; give a value of the same type, like {name}={example}"
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_path(value: Any) -> bool:
    """Whether a value is a string with an inner slash; a bare word may well be something other than a path."""
    return isinstance(value, str) and "/" in value.rstrip("/")
