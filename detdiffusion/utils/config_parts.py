"""The arguments that the component described by a dict of a config accepts."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

# Keys that mmengine's runner itself reads from these dicts
_READ_HERE = {
    "dataloader": "dataset sampler batch_sampler worker_init_fn collate_fn num_batch_per_epoch "
    "disable_subprocess_warning",
    "optim_wrapper": "optimizer paramwise_cfg constructor",
    "train_cfg": "by_epoch",
    "env_cfg": "cudnn_benchmark mp_cfg dist_cfg resource_limit",
    "randomness": "seed diff_rank_seed deterministic",
    "auto_scale_lr": "enable base_batch_size",
}
_CLOSED = ("env_cfg", "randomness", "auto_scale_lr")
_DEFAULT_TYPES = dict(
    optim_wrapper="OptimWrapper",
    val_cfg="ValLoop",
    test_cfg="TestLoop",
    log_processor="LogProcessor",
    visualizer="Visualizer",
)
# keys that builders remove from a dict before they pass it to its class
_OF_BUILDERS = {"priority", "requires_grad", "convert_to_iter_based", "init_cfg", "name", "inplace"}


def arguments_of(path: Sequence[str], node: Mapping, scope: str) -> tuple[set[str], bool]:
    """Return the keys that a dict of a config may have.

    Args:
        path: keys that lead to the dict in the config.
        node: the dict.
        scope: the config's default scope.

    Returns:
        The names, and whether others may be valid too (because the class passes them on, or is unknown).
    """
    place = path[0].rpartition("_")[2] if path[0].endswith("_dataloader") else path[0]
    names = set(_READ_HERE.get(place, "").split()) if len(path) == 1 else set()
    if len(path) == 1 and place in _CLOSED:
        return names, False
    found = _part(place if len(path) == 1 else "", node, scope)
    if found is None:
        return names, True
    arguments, is_open = _signature(found)
    return names | arguments | _OF_BUILDERS | set(getattr(found, "config_keys", ())), is_open


def part_of(node: Mapping, scope: str) -> Any:
    """Return the registered class of a dict with a ``type``, or None."""
    return _part("", node, scope)


def _part(place: str, node: Mapping, scope: str) -> Any:
    name = node.get("type") or _DEFAULT_TYPES.get(place)
    if place == "dataloader":
        from torch.utils.data import DataLoader

        return DataLoader
    if place == "train_cfg" and name is None:
        name = "EpochBasedTrainLoop" if node.get("by_epoch", "max_epochs" in node) else "IterBasedTrainLoop"
    if not isinstance(name, str):
        return name if callable(name) else None
    return _registered(name, scope) or _of_diffusers(name)


def _registered(name: str, scope: str) -> Any:
    """Look up a class or function by name in all registries."""
    import contextlib

    from mmengine import registry

    if "mmdet" in (scope, name.partition(".")[0]):
        from .compat import setup

        setup()
        import mmdet.registry  # noqa: F401  registers the scope
    roots = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
    for full_name in dict.fromkeys([name if "." in name else f"{scope}.{name}", name, f"mmengine.{name}"]):
        for root in roots:
            with contextlib.suppress(KeyError, ImportError, AttributeError):
                if (found := root.get(full_name)) is not None:
                    return found
    return None


def _of_diffusers(name: str) -> Any:
    """Return a component of a generator: a class of diffusers, or the config class of one of transformers."""
    import diffusers
    import transformers

    if (found := getattr(diffusers, name, None)) is not None:
        return found
    return getattr(getattr(transformers, name, None), "config_class", None)


def _signature(part: Any) -> tuple[set[str], bool]:
    """Return the arguments of a function, or of a class and the base classes that it passes keywords to."""
    if inspect.isclass(part):
        owners = [c.__dict__["__init__"] for c in part.__mro__ if "__init__" in c.__dict__]
    else:
        owners = [part]
    names: set[str] = set()
    for owner in owners:
        try:
            parameters = inspect.signature(owner).parameters.values()
        except (TypeError, ValueError):
            return names, True
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {
            "self"
        }
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            return names, False
    return names, True
