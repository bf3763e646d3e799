"""Overrides of a config's variables reach every place that was built from them.

A config file evaluates ``ann_file = data_root + 'val.json'`` when it is read, so mmengine's
``--cfg-options data_root=DIR`` alone would change the variable and nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

_LENGTHS = ("max_iters", "max_epochs")
_SECTIONS = ("train_cfg", "param_scheduler", "default_hooks")
_ENDS = ("max_iters", "max_epochs", "end", "T_max", "interval", "val_interval")


def propagate(values: Any, variables: Mapping[str, tuple[str, str]]) -> Any:
    """Replaces paths below an old value by the same paths below the new one.

    Args:
        values: nested dicts, lists and tuples; they are changed in place, tuples are replaced.
        variables: name -> (old value, new value). A text counts as built from the old value if it is that
            path or one below it; a trailing slash makes no difference. Where the new value lies below the old
            one, texts that are there already stay.

    Returns:
        ``values``, or its replacement.
    """
    if isinstance(values, dict):
        for key in list(values):
            values[key] = propagate(values[key], variables)
    elif isinstance(values, list):
        values[:] = [propagate(value, variables) for value in values]
    elif isinstance(values, tuple):
        return tuple(propagate(value, variables) for value in values)
    elif isinstance(values, str):
        # the most specific first: data_root's own path lies in front of ann_file's
        for old, new in sorted(variables.values(), key=lambda pair: -len(pair[0])):
            if not _within(values, old):
                continue
            if _within(new, old) and _within(values, new):
                return values
            return new if values == old else new.rstrip("/") + values[len(old.rstrip("/")) :]
    return values


def propagate_overrides(config, overrides: Mapping[str, Any]) -> None:
    """Call it before ``config.merge_from_dict(overrides)``: top-level path variables among the overrides are
    propagated through the config, and ``max_iters`` and ``max_epochs`` to the loop, the schedulers that end with it,
    and validations and checkpoints that wait for its end.

    Args:
        config: ``mmengine.config.Config``, changed in place.
        overrides: as ``--cfg-options`` gives them.
    """
    variables = {
        name: (config[name], value)
        for name, value in overrides.items()
        if "." not in name and isinstance(value, str) and _is_path(config.get(name))
    }
    if variables:
        propagate(config._cfg_dict, variables)
    for name in _LENGTHS:
        old, new = config.get(name), overrides.get(name)
        if isinstance(old, int) and isinstance(new, int):
            for section in _SECTIONS:
                _end_at(config._cfg_dict.get(section), old, new)


def propagate_inherited(config, filename: str) -> None:
    """A path variable that a config file sets anew is propagated through what it inherits.

    ``_base_ = 'detdiffusion::detdiffusion_coco.py'`` and ``sd_folder = '/models/sd15'`` in a file of one's own
    then move all five parts of the model. What the file itself sets stays as it is written.

    Args:
        config: ``mmengine.config.Config`` read from ``filename``, changed in place.
        filename: the config file.
    """
    _resolve(config, filename)


def _resolve(config, filename: str) -> None:
    """Recursive: the inherited part is resolved first, then moved, then put where the file has not its own."""
    plain, resolved = {}, {}
    for base in config._get_base_files(filename):
        path, _ = config._get_cfg_path(base, filename)
        inherited = config.fromfile(path, import_custom_modules=False)
        plain.update(copy.deepcopy(inherited._cfg_dict))
        _resolve(inherited, path)
        resolved.update(inherited._cfg_dict)
    variables = {
        name: (resolved[name], config[name])
        for name, old in plain.items()
        if _is_path(old) and isinstance(config.get(name), str) and config[name] != old
    }
    _take_inherited(config._cfg_dict, plain, propagate(resolved, variables))


def _take_inherited(values: Any, plain: Any, resolved: Any) -> Any:
    """``values`` with the texts that equal those of ``plain`` at the same place taken from ``resolved``."""
    if isinstance(values, dict) and isinstance(plain, dict):
        for key in values.keys() & plain.keys():
            values[key] = _take_inherited(values[key], plain[key], resolved[key])
    elif isinstance(values, (list, tuple)) and type(values) is type(plain) and len(values) == len(plain):
        items = [_take_inherited(*triple) for triple in zip(values, plain, resolved)]
        if isinstance(values, tuple):
            return tuple(items)
        values[:] = items
    elif isinstance(values, str) and values == plain:
        return resolved
    return values


def _end_at(values: Any, old: int, new: int) -> None:
    """Whatever ends at ``old`` ends at ``new``, in nested dicts and lists, in place."""
    for key, value in values.items() if isinstance(values, dict) else ():
        if key in _ENDS and value == old:
            values[key] = new
    for value in values.values() if isinstance(values, dict) else values if isinstance(values, list) else ():
        _end_at(value, old, new)


def _within(path: str, folder: str) -> bool:
    """The same path, or one below it."""
    stem = folder.rstrip("/")
    return path.rstrip("/") == stem or path.startswith(stem + "/")


def _is_path(value: Any) -> bool:
    """A text with a slash inside; a bare word is too likely to stand for something else."""
    return isinstance(value, str) and "/" in value.rstrip("/")
