"""The editor's settings in groups, and the flat keys of earlier configs, which beat them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from mmengine.logging import print_log

from detdiffusion.utils.errors import UserError

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Perception:
    """The perception-aware branch (paper 3.3).

    Attributes:
        mask_head: config of the segmentation head on the network's features, or None for no branch.
        loss: config of the perception-aware loss (Eq. 4 and 5), or None; comes with ``mask_head``.
        taps: which features the head sees, ``decoder`` or ``down+up``.
        on_null_text: whether samples with the empty prompt count in the loss.
    """

    mask_head: dict | None = None
    loss: dict | None = None
    taps: str = "decoder"
    on_null_text: bool = True

    def __post_init__(self) -> None:
        if (self.mask_head is None) != (self.loss is None):
            raise UserError("mask_head and perception_loss come together: give both or neither")


@dataclass
class Conditioning:
    """How training shows the network its conditions.

    Attributes:
        null_text_prob: share of training samples whose prompt is empty.
        grounding_loss: config of an :class:`~detdiffusion.models.losses.AttentionGroundingLoss`, or None as in the
            paper.
        noise_offset: deviation of one more normal number a channel that is added to the training noise, so that
            very dark and very bright images are learned; 0 as in the paper.
    """

    null_text_prob: float = 0.1
    grounding_loss: dict | None = None
    noise_offset: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.null_text_prob <= 1:
            raise UserError(f"null_text_prob must lie in [0, 1], got {self.null_text_prob!r}")


@dataclass
class Memory:
    """Precision, memory and speed.

    Attributes:
        dtype: ``fp32``, ``bf16`` or ``fp16``: autocast in training and sampling; trained weights stay float32.
            ``fp16`` gradients need loss scaling: tools/train.py --amp.
        gradient_checkpointing: recompute the network's activations in the backward pass.
        cache_latents: True or a folder: the VAE sees every training image, and its mirror images, once, before the
            first step (:class:`detdiffusion.engine.LatentCacheHook`); True keeps them in the work dir. For
            pipelines without other random transforms than ``RandomFlipLayout``.
        channels_last: keep convolutions' weights and features in that memory format.
        compile: ``torch.compile`` the residual and transformer blocks; True, or a dict of its options.
    """

    dtype: str = "fp32"
    gradient_checkpointing: bool = False
    cache_latents: bool | str = False
    channels_last: bool = False
    compile: bool | dict = False

    def __post_init__(self) -> None:
        if self.dtype not in AUTOCAST:
            raise UserError(f"dtype must be one of {sorted(AUTOCAST)}, got {self.dtype!r}")


GROUPS = dict(perception=Perception, conditioning=Conditioning, memory=Memory)
_RENAMED = {"perception_loss": "loss", "perception_on_null_text": "on_null_text"}
_FLAT = {name: flat for flat, name in _RENAMED.items()}
FLAT_KEYS = tuple(_FLAT.get(field.name, field.name) for cls in GROUPS.values() for field in fields(cls))
"""Keys of earlier configs, each a field of a group by itself."""


def group_of(flat: str) -> tuple[str, str] | None:
    """Group and field that a flat key stands for, or None: ``perception_loss`` is ``perception.loss``."""
    name = _RENAMED.get(flat, flat)
    if flat in _RENAMED.values():
        return None  # the field's own name is no flat key
    for group, cls in GROUPS.items():
        if any(field.name == name for field in fields(cls)):
            return group, name
    return None


def read_options(groups: Mapping[str, Mapping | None], flat: Mapping) -> dict[str, object]:
    """The groups as dataclasses.

    Args:
        groups: name in :data:`GROUPS` -> its fields, or None for the defaults.
        flat: further keys of the editor's config; each is a field of a group, and a dict is merged over the group's.

    Raises:
        UserError: an unknown key, or values that do not go together.
    """
    values = {name: dict(given or {}) for name, given in groups.items()}
    for key, value in flat.items():
        place = group_of(key)
        if place is None:
            known = ", ".join(
                f"{group}.{field.name}" for group, cls in GROUPS.items() for field in fields(cls)
            )
            raise UserError(f"DetDiffusion has no argument {key!r}; its groups have {known}")
        group, name = place
        old = values[group].get(name)
        if isinstance(value, Mapping):
            value = dict(value)
            old = None if value.pop("_delete_", False) else old
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            overridden = {f"{name}.{k}": v for k, v in old.items() if v != value.get(k, v)}
            value = {**old, **value}
        else:
            overridden = {} if old in (None, value) else {name: old}
        for field, lost in overridden.items():
            note = f"note: model.{group}.{field}={lost!r} has no effect: the config sets model.{key}, which beats it"
            print_log(note, logger="current")
        values[group][name] = value
    options = {}
    for group, given in values.items():
        unknown = given.keys() - {field.name for field in fields(GROUPS[group])}
        if unknown:
            raise UserError(f"model.{group} has no field {sorted(unknown)[0]!r}")
        options[group] = GROUPS[group](**given)
    perception, conditioning, memory = (options[name] for name in GROUPS)
    if conditioning.grounding_loss is not None and (memory.gradient_checkpointing or memory.compile):
        raise UserError(
            "grounding_loss needs the attention of the forward pass: set gradient_checkpointing=False and "
            "compile=False"
        )
    return options
