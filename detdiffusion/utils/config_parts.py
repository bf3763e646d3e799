"""Which arguments the part of a run takes that a dict of a config describes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

# What mmengine's runner itself takes out of these dicts, or reads from them
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
# keys that builders take out of a dict before its class sees it
_OF_BUILDERS = {"priority", "requires_grad", "convert_to_iter_based", "init_cfg", "name", "inplace"}


def arguments_of(path: Sequence[str], node: Mapping, scope: str) -> tuple[set[str], bool]:
    """The names that a dict of a config may have.

    Args:
        path: where in the config it stands.
        node: the dict.
        scope: the config's default scope.

    Returns:
        The names, and whether others may be fine too (the class hands them on, or is not known).
    """
    place = path[0].rpartition("_")[2] if path[0].endswith("_dataloader") else path[0]
    names = set(_READ_HERE.get(place, "").split()) if len(path) == 1 else set()
    if len(path) == 1 and place in _CLOSED:
        return names, False
    found = _part(place if len(path) == 1 else "", node, scope)
    if found is None:
        return names, True
    own, is_open = _signature(found)
    return names | own | _OF_BUILDERS | set(getattr(found, "config_keys", ())), is_open


def part_of(node: Mapping, scope: str) -> Any:
    """The registered class of a dict with a ``type``, or None."""
    return _part("", node, scope)


def _part(place: str, node: Mapping, scope: str) -> Any:
    kind = node.get("type") or _DEFAULT_TYPES.get(place)
    if place == "dataloader":
        from torch.utils.data import DataLoader

        return DataLoader
    if place == "train_cfg" and kind is None:
        kind = "EpochBasedTrainLoop" if node.get("by_epoch", "max_epochs" in node) else "IterBasedTrainLoop"
    if not isinstance(kind, str):
        return kind if callable(kind) else None
    return _registered(kind, scope) or _of_diffusers(kind)


def _registered(kind: str, scope: str) -> Any:
    """A class or function of any registry, by its name."""
    import contextlib

    from mmengine import registry

    if "mmdet" in (scope, kind.partition(".")[0]):
        from .compat import setup

        setup()
        import mmdet.registry  # noqa: F401  makes the scope known
    roots = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
    for name in dict.fromkeys([kind if "." in kind else f"{scope}.{kind}", kind, f"mmengine.{kind}"]):
        for root in roots:
            with contextlib.suppress(KeyError, ImportError, AttributeError):
                if (found := root.get(name)) is not None:
                    return found
    return None


def _of_diffusers(kind: str) -> Any:
    """The part of a generator: a class of diffusers, or the configuration of one of transformers."""
    import diffusers
    import transformers

    if (found := getattr(diffusers, kind, None)) is not None:
        return found
    return getattr(getattr(transformers, kind, None), "config_class", None)


def _signature(part: Any) -> tuple[set[str], bool]:
    """Arguments of a function, or of a class and of the bases that it hands keywords on to."""
    owners = (
        [c.__dict__["__init__"] for c in part.__mro__ if "__init__" in c.__dict__]
        if inspect.isclass(part)
        else [part]
    )
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
