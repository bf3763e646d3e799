"""Keys of a config that nobody reads: what a run reads, and what is said about the rest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
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
    "strict_load layout_datasets onnx_detector fid exif_orientation huge_images".split()
)
"""Top-level keys that a part of a run reads."""

_NEAR = 0.8


def file_findings(tree: ConfigFile) -> list[Finding]:
    """What is wrong with, or to be said of, the files of a config: old names, keys set twice, unread names.

    Files of other packages are not judged.
    """
    files = [file for file in dict.fromkeys(tree.family()) if not file.foreign]
    return [*(finding for file in files for finding in file.findings), *unread_names(tree)]


def unread_names(tree: ConfigFile) -> list[Finding]:
    """Names that a config's files set, and neither a part of a run nor a file of the config uses.

    A finding is an error where the name is near one that is used, else a note. Files of other packages are not judged.
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


def check_options(config: Mapping, options: Iterable[str], flag: str = "--cfg-options") -> None:
    """Options must set something that is read.

    Args:
        config: as it is without the options.
        options: their keys, with dots.
        flag: the option's name, for messages.

    Raises:
        UserError: a key of the top level that neither the config nor a run has, or an argument that a part of the
            config lacks; with near matches.
    """
    for key in options:
        name = key.partition(".")[0]
        if name not in config and name not in READ:
            raise UserError(
                f"{flag} {key}: the config has no {name!r} and nothing reads it{_instead(config, key)}"
            )
        _check_path(config, key, flag)


def _instead(config: Mapping, key: str) -> str:
    """'; did you mean ...': names like it at the top level, or the same name inside of parts."""
    name, _, rest = key.partition(".")
    places = [f"{path}.{rest}" if rest else path for path in _places(config, name)]
    near = difflib.get_close_matches(name, {*config, *READ}, n=3, cutoff=0.6)
    choices = places or [f"{one}.{rest}" if rest else one for one in near]
    return f"; did you mean {some(choices, 4).replace(', ', ' or ')}?" if choices else ""


def _places(node: Any, name: str, path: str = "") -> list[str]:
    """Dotted paths of all entries with a name."""
    items = (
        node.items()
        if isinstance(node, Mapping)
        else enumerate(node)
        if isinstance(node, (list, tuple))
        else ()
    )
    found = []
    for key, value in items:
        inner = f"{path}.{key}" if path else str(key)
        found += [inner] * (key == name) + _places(value, name, inner)
    return found


def _check_path(config: Mapping, key: str, flag: str) -> None:
    """The first part of a key that the config does not have yet must be an argument of the part that it goes to."""
    node: Any = config
    parts = key.split(".")
    for depth, name in enumerate(parts):
        if isinstance(node, (list, tuple)) and name.isdigit() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, Mapping) and name in node:
            node = node[name]
        elif isinstance(node, Mapping) and depth and not _takes(config, parts[:depth], node, name):
            where = ".".join(parts[:depth])
            names = _names(config, parts[:depth], node)
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
            kind = f" ({node['type']})" if isinstance(node.get("type"), str) else ""
            hint = f"did you mean {' or '.join(near)}?" if near else f"it has {some(sorted(names), 12)}"
            raise UserError(f"{flag} {key}: {where}{kind} has no {name!r}; {hint}")
        else:
            return


def _takes(config: Mapping, path: Sequence[str], node: Mapping, name: str) -> bool:
    names, is_open = arguments_of(path, node, config.get("default_scope") or "mmengine")
    if name in names or name in ("type", "_delete_", "_scope_"):
        return True
    return is_open and not difflib.get_close_matches(name, {*names, *node}, n=1, cutoff=_NEAR)


def _names(config: Mapping, path: Sequence[str], node: Mapping) -> set[str]:
    names, _ = arguments_of(path, node, config.get("default_scope") or "mmengine")
    return {*names, *node} - {"self", "args", "kwargs", "type", "_scope_"}
