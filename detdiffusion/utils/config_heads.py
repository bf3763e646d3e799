"""The number of classes of each head in a detector's config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from .config_parts import part_of

# parts that predict a single class or other labels, or that predict nothing
_OTHER_LABELS = (
    "rpn_head",
    "semantic_head",
    "panoptic_fusion_head",
    "train_cfg",
    "test_cfg",
    "backbone",
    "neck",
)


def class_counts(model: Mapping, scope: str) -> dict[str, int]:
    """Find ``num_classes`` of each head of a model.

    Args:
        model: the ``model`` of a config.
        scope: the config's default scope.

    Returns:
        Dotted path of each head's ``num_classes`` -> its value, or the default of the head's class if the config does
        not set it. Empty for models that take their classes from text prompts (``language_model``).
    """
    if "language_model" in model:
        return {}
    return dict(_walk(model, "model", scope))


def _walk(node: Any, path: str, scope: str):
    if isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _walk(value, f"{path}.{index}", scope)
    elif isinstance(node, Mapping):
        key = path.rpartition(".")[2]
        if key in _OTHER_LABELS or key.startswith("loss"):
            return
        if "num_things_classes" in node and "num_stuff_classes" in node:
            yield f"{path}.num_things_classes", node["num_things_classes"] + node["num_stuff_classes"]
        elif isinstance(node.get("num_classes"), int):
            yield f"{path}.num_classes", node["num_classes"]
        elif "_head" in path and node.get("type") and "num_classes" not in node:
            parameter = _default(node, scope)
            if isinstance(parameter, int):
                yield f"{path}.num_classes", parameter
        for name, value in node.items():
            yield from _walk(value, f"{path}.{name}", scope)


def _default(node: Mapping, scope: str) -> Any:
    """Return the default of ``num_classes`` in the class, or in the base class that it passes the argument to."""
    head = part_of(node, scope)
    for base in head.__mro__ if inspect.isclass(head) else ():
        if "__init__" in base.__dict__:
            parameter = inspect.signature(base.__dict__["__init__"]).parameters.get("num_classes")
            if parameter is not None:
                return parameter.default
    return None
