"""The editor's settings in groups, and the flat keys of earlier configs, which override them."""

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
        loss: config of the perception-aware loss (Eq. 4 and 5), or None; required with ``mask_head``.
        taps: which features the head takes, ``decoder`` or ``down+up``.
        on_null_text: whether samples with the empty prompt contribute to the loss.
    """

    mask_head: dict | None = None
    loss: dict | None = None
    taps: str = "decoder"
    on_null_text: bool = True

    def __post_init__(self) -> None:
        if (self.mask_head is None) != (self.loss is None):
            raise UserError("mask_head and perception_loss require each other: give both or neither")


@dataclass
class Conditioning:
    """How the network is conditioned in training.

    Attributes:
        null_text_prob: probability of replacing a sample's prompt by the empty prompt.
        grounding_loss: config of an :class:`~detdiffusion.models.losses.AttentionGroundingLoss`, or None as in the
            paper.
        noise_offset: standard deviation of a normal offset per channel that is added to the training noise, so that
            very dark and very bright images are learned; 0 as in the paper.
        layout_condition: ``tokens``, locations and attributes as tokens of the prompt, as in the paper; ``blueprint``,
            drawn at the network's input, with class names as prompt; or ``both``. None: as the model that the training
            starts from, ``tokens`` if it is not stored there. See :mod:`.blueprint`.
        blueprint_shapes: what a blueprint shows, ``boxes``, or ``masks`` for layouts that have masks, which those of
            ``tools/generate.py`` do not; None: as the model that the training starts from, or ``boxes``.
    """

    null_text_prob: float = 0.1
    grounding_loss: dict | None = None
    noise_offset: float = 0.0
    layout_condition: str | None = None
    blueprint_shapes: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.null_text_prob <= 1:
            raise UserError(f"null_text_prob must lie in [0, 1], got {self.null_text_prob!r}")


@dataclass
class Memory:
    """Precision, memory and speed.

    Attributes:
        dtype: autocast dtype of training and sampling, ``fp32``, ``bf16`` or ``fp16``; trained weights stay float32.
            ``fp16`` gradients need loss scaling: tools/train.py --amp. On a CPU, ``bf16`` is only fast with bfloat16
            instructions (``avx512_bf16`` or ``amx_bf16``).
        gradient_checkpointing: recompute the network's activations in the backward pass.
        cache_latents: encode every training image and its mirror image once, before the first step, and cache the
            latents (:class:`detdiffusion.engine.LatentCacheHook`): True stores them in the work dir, a string in that
            folder. Only for pipelines whose only random transform is ``RandomFlipLayout``.
        channels_last: use the channels-last memory format for weights and features of convolutions.
        compile: ``torch.compile`` the residual and transformer blocks and the mask head's; True, or a dict of its
            options: ``dict(mode='reduce-overhead')`` records CUDA graphs.
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
"""Flat keys of earlier configs, one per field of a group."""


def group_of(flat: str) -> tuple[str, str] | None:
    """Return the group and field of a flat key, or None: ``perception_loss`` is ``perception.loss``."""
    name = _RENAMED.get(flat, flat)
    if flat in _RENAMED.values():
        return None  # the name of a renamed field is not a flat key
    for group, cls in GROUPS.items():
        if any(field.name == name for field in fields(cls)):
            return group, name
    return None


def read_options(groups: Mapping[str, Mapping | None], flat: Mapping) -> dict[str, object]:
    """Build the dataclasses of the groups.

    Args:
        groups: fields of each group, by its name in :data:`GROUPS`; None for the defaults.
        flat: flat keys of the editor's config, which override fields; a dict is merged into the field's dict.

    Raises:
        UserError: a key is unknown, or values are not compatible.
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
