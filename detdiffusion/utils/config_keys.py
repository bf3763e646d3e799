"""Detect config keys that nothing reads."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from .config_files import ConfigFile
from .config_parts import arguments_of
from .errors import UserError, some
from .findings import Finding

RUNNER = frozenset(
    "model work_dir train_dataloader val_dataloader test_dataloader train_cfg val_cfg test_cfg auto_scale_lr "
    "optim_wrapper param_scheduler val_evaluator test_evaluator default_hooks custom_hooks data_preprocessor load_from "
    "resume launcher env_cfg log_processor log_level visualizer default_scope randomness experiment_name".split()
)
"""Arguments of mmengine's runner."""

READ = RUNNER | frozenset(
    # mmengine and mmdet by cfg.get(...)
    "custom_imports runner_type strategy model_wrapper_cfg find_unused_parameters sync_bn compile "
    "activation_checkpointing efficient_conv_bn_eval init_weights_for_test_or_val tta_model tta_pipeline tta_cfg "
    # ours
    "strict_load layout_datasets sampling onnx_detector fid exif_orientation huge_images".split()
)
"""Top-level keys that some component of a run reads."""

_NEAR = 0.8


def file_findings(tree: ConfigFile) -> list[Finding]:
    """Collect errors and notes about the files of a config: old names, keys set twice, unread names.

    Files of other packages are not checked.
    """
    files = [file for file in dict.fromkeys(tree.family()) if not file.foreign]
    return [*(finding for file in files for finding in file.findings), *unread_names(tree)]


def unread_names(tree: ConfigFile) -> list[Finding]:
    """Find names that a config's files set, but that neither a component of a run nor a file of the config uses.

    A finding is an error if the name is similar to one that is used, else a note. Files of other packages are not
    checked.
    """
    files = list(tree.family())
    used = READ.union(*(file.loaded for file in files))
    known = READ.union(*(file.loaded & file.assigned for file in files))
    found = []
    for file in dict.fromkeys(files):
        for name in sorted(file.assigned - used) if not file.foreign else ():
            if name.startswith("_"):
                continue
            near = difflib.get_close_matches(name, known, n=3, cutoff=_NEAR)
            problem = "neither a part of the run nor another line of the config uses it"
            remedy = f"did you mean {' or '.join(near)}?" if near else "it has no effect"
            found.append(Finding(file.path, name, problem, None, remedy, "error" if near else "note"))
    return found


def check_options(config: Mapping, options: Iterable[str]) -> None:
    """Check that options set something that is read.

    Args:
        config: the config without the options.
        options: dotted keys of the options.

    Raises:
        UserError: if neither the config nor a run has a top-level key, or a component of the config does not accept an
            argument; the message suggests near matches.
    """
    for key in options:
        name = key.partition(".")[0]
        if name not in config and name not in READ:
            raise UserError(
                f"--cfg-options {key}: the config has no {name!r} and nothing reads it{_instead(config, key)}"
            )
        _check_path(config, key)


def _instead(config: Mapping, key: str) -> str:
    """Suggest the same name inside components, else similar top-level names: '; did you mean ...'."""
    name, _, rest = key.partition(".")
    places = [f"{path}.{rest}" if rest else path for path in _places(config, name)]
    near = difflib.get_close_matches(name, {*config, *READ}, n=3, cutoff=0.6)
    choices = places or [f"{other}.{rest}" if rest else other for other in near]
    return f"; did you mean {some(choices, 4).replace(', ', ' or ')}?" if choices else ""


def _places(node: Any, name: str, path: str = "") -> list[str]:
    """Return the dotted paths of all entries called ``name``."""
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        items = ()
    found = []
    for key, value in items:
        inner = f"{path}.{key}" if path else str(key)
        found += [inner] * (key == name) + _places(value, name, inner)
    return found


def _check_path(config: Mapping, key: str) -> None:
    """Check that the first name of a dotted key that is new to the config is an argument of its component."""
    node: Any = config
    parts = key.split(".")
    for depth, name in enumerate(parts):
        if isinstance(node, (list, tuple)) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, Mapping) and name in node:
            node = node[name]
        else:
            if isinstance(node, Mapping) and depth:
                _check_argument(config, parts[:depth], node, name, key)
            return


def _check_argument(config: Mapping, path: Sequence[str], node: Mapping, name: str, key: str) -> None:
    """Raise a UserError if the component at ``path`` has no argument ``name``."""
    names, is_open = arguments_of(path, node, config.get("default_scope") or "mmengine")
    if _takes(names, is_open, node, name):
        return
    kind = f" ({node['type']})" if isinstance(node.get("type"), str) else ""
    names = {*names, *node} - {"self", "args", "kwargs", "type", "_scope_"}
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {some(sorted(names), 12)}"
    raise UserError(f"--cfg-options {key}: {'.'.join(path)}{kind} has no {name!r}; {hint}")


def _takes(names: Set[str], is_open: bool, node: Mapping, name: str) -> bool:
    if name in names or name in ("type", "_delete_", "_scope_"):
        return True
    return is_open and not difflib.get_close_matches(name, {*names, *node}, n=1, cutoff=_NEAR)
