"""The memory that a training with a config needs, computed from its model without storage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from detdiffusion.datasets.image_sizes import training_sizes
from detdiffusion.utils.errors import UserError, first_line

_STATES = {"AdamW": 2, "Adam": 2, "AdamW8bit": 0.5, "Lion": 1, "Adagrad": 1, "RMSprop": 1, "Adafactor": 0.01}
"""Numbers that an optimizer keeps per weight."""


@dataclass(frozen=True)
class Memory:
    """What a training keeps in memory and on disk; all numbers in memory are float32.

    Attributes:
        optimizer: type of the optimizer.
        states_known: whether the states of this optimizer are known; else they are not counted.
        trained, frozen: number of parameters.
        weights: bytes of weights, gradients, optimizer states and averages.
        batch: images of a step on one device.
        size: (height, width) of the images in pixels, of several sizes the largest; None if it was not found.
        activations: bytes that the forward pass of a batch keeps for the backward pass; None if not computed.
        reason: why they were not computed.
        latents: bytes of the cached latents on disk; 0 without a cache.
    """

    optimizer: str
    states_known: bool
    trained: int
    frozen: int
    weights: int
    batch: int
    size: tuple[int, int] | None
    activations: int | None
    reason: str
    latents: int


def memory_of(cfg: Any, images: int) -> Memory:
    """Compute the memory of a training.

    Activations are those of text encoder and denoising network (prompts of one window), or of a detector's backbone,
    neck and dense head. Mask head, heads of a second stage, losses and what gradient checkpointing computes again come
    on top.

    Args:
        cfg: a loaded config.
        images: number of training images.

    Raises:
        Exception: whatever prevents the model from being built.
    """
    optimizer = (cfg.get("optim_wrapper") or {}).get("optimizer") or {}
    name = str(optimizer.get("type", "SGD"))
    states = _STATES.get(name, 1 if optimizer.get("momentum") else 0)
    hooks = [str(hook.get("type")) for hook in cfg.get("custom_hooks") or [] if isinstance(hook, Mapping)]
    copies = sum("EMA" in hook for hook in hooks)
    loader = cfg.get("train_dataloader") or {}
    batch, pipeline = loader.get("batch_size") or 1, _pipeline(loader)
    size, activations, reason, latents = None, None, "", 0
    model = _without_storage(cfg).train()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    try:
        size = _image_size(cfg, model, pipeline)
        activations = _activations(model, batch, size)
    except Exception as error:  # an estimate; whatever prevents it is told
        reason = first_line(error)
    if size is not None and getattr(model, "cache_latents", False):
        versions = 1 + sum(_flips(step) for step in pipeline)
        latents = (
            2 * 2 * images * versions * math.prod(model.latent_shape(*size))
        )  # mean and deviation, float16
    weights = int(4 * (trained * (2 + states + copies) + frozen * (1 + copies)))
    known = name in (*_STATES, "SGD")
    return Memory(name, known, trained, frozen, weights, batch, size, activations, reason, latents)


def _activations(model, batch: int, size: tuple[int, int]) -> int:
    """Return the bytes that a forward pass keeps; replaces the weights of a model on the meta device, whose kernels of
    attention are not those of a real device, by weights without storage on the CPU."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in model.modules():
            for name, weight in list(module.named_parameters(recurse=False)):
                empty = torch.empty_like(weight, device="cpu")
                module.register_parameter(name, torch.nn.Parameter(empty, weight.requires_grad))
            for name, buffer in list(module.named_buffers(recurse=False)):
                module._buffers[name] = torch.empty_like(buffer, device="cpu")
        forward = _run_generator if hasattr(model, "layout_tokenizer") else _run_detector
        return kept_bytes(lambda: forward(model, batch, size), model.parameters())


def kept_bytes(forward: Callable[[], Any], weights: Iterable[torch.Tensor]) -> int:
    """Return the bytes of all tensors that a forward pass keeps for its backward pass.

    Args:
        forward: the forward pass; its tensors may have no storage (``FakeTensorMode``).
        weights: tensors that are not counted.
    """
    from torch.multiprocessing.reductions import StorageWeakRef

    known = {StorageWeakRef(weight.untyped_storage()) for weight in weights}
    kept: dict[StorageWeakRef, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if (key := StorageWeakRef(storage)) not in known:
            kept[key] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        output = forward()  # keeps the graph, and with it the storages, until all are counted
    del output
    return sum(kept.values())


def _run_generator(model, batch: int, size: tuple[int, int]):
    backbone = model.backbone
    shape = model.latent_shape(*size)
    prompts = backbone.encode(model.layout_tokenizer.null_ids(batch), None, size, [(*size, 0, 0)] * batch)
    prompts = backbone.add_blueprints(prompts, [None] * batch, shape[1:])
    return backbone.predict(torch.empty(batch, *shape), torch.zeros(batch, dtype=torch.long), prompts)


def _run_detector(model, batch: int, size: tuple[int, int]):
    features = model.extract_feat(torch.empty(batch, 3, *size))
    head = getattr(model, "bbox_head", None) or getattr(model, "rpn_head", None)
    return features if head is None else head(features)


def _image_size(cfg, model, pipeline: list[Mapping]) -> tuple[int, int]:
    """Return (height, width) of the training images, of several sizes the largest."""
    if sizes := training_sizes(cfg):
        return max(sizes, key=math.prod)
    if hasattr(model, "image_size"):
        return model.image_size
    scales = [scale for step in pipeline if "Resize" in str(step.get("type")) for scale in _scales(step)]
    if not scales:
        raise UserError("its pipeline names no scale")
    width, height = max(scales, key=math.prod)
    return height, width


def _scales(step: Mapping) -> list[tuple[int, int]]:
    given = step.get("scale") or step.get("scales") or []
    given = [given] if given and not isinstance(given[0], (list, tuple)) else given
    return [tuple(scale) for scale in given]


def _pipeline(loader: Mapping) -> list[Mapping]:
    dataset = loader.get("dataset") or {}
    while isinstance(dataset.get("dataset"), Mapping) and "pipeline" not in dataset:
        dataset = dataset["dataset"]
    return [step for step in dataset.get("pipeline") or [] if isinstance(step, Mapping)]


def _flips(step: Mapping) -> int:
    """Return the number of mirrored versions that a step of the pipeline makes."""
    if step.get("type") != "RandomFlipLayout" or not step.get("prob", 0.5):
        return 0
    direction = step.get("direction", "horizontal")
    return 1 if isinstance(direction, str) else len(direction)


def _without_storage(cfg) -> torch.nn.Module:
    """Build the model of a config on the meta device, from the configurations of its parts alone."""
    from mmengine.registry import DefaultScope

    from detdiffusion.models.editors.detdiffusion.components import (
        build_component,
        build_sampling_scheduler,
        without_weights,
    )
    from detdiffusion.registry import MODELS
    from detdiffusion.utils import compat

    compat.setup()
    spec = dict(cfg.model)
    for role in ("vae", "text_encoder", "unet"):
        if role in spec:
            spec[role] = without_weights(spec[role], role)
    if "scheduler" in spec:  # its tables are computed, so it needs a device
        spec["scheduler"] = build_component(spec["scheduler"], "scheduler")
        spec["test_scheduler"] = build_sampling_scheduler(
            spec.get("test_scheduler"), spec["scheduler"], "test_scheduler"
        )
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "detdiffusion")), torch.device("meta"):
        return MODELS.build(spec)
