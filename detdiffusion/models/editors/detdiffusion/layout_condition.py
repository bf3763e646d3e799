"""The layout as a condition: tokens in the prompt, a blueprint at the network's input, or both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detdiffusion.structures import ATTRIBUTES, Layout, check_attribute_words
from detdiffusion.utils.errors import UserError

from .blueprint import CHANNELS, draw_blueprint, object_codes

CONDITIONS = ("tokens", "blueprint", "both")
SHAPES = ("boxes", "masks")


class Blueprint:
    """Draws the blueprints of layouts, see :mod:`.blueprint`.

    Args:
        attributes: whether attributes are drawn; layouts must then have them.
        attribute_words: the attributes, easiest first, ``background`` last.
        shapes: ``boxes``, or ``masks`` for the masks of layouts that have some and the boxes of others.

    Raises:
        UserError: ``shapes`` is unknown, or words are not valid attributes.
    """

    channels = CHANNELS

    def __init__(
        self, attributes: bool = True, attribute_words: Sequence[str] = ATTRIBUTES, shapes: str = "boxes"
    ) -> None:
        if shapes not in SHAPES:
            raise UserError(f"blueprint_shapes must be one of {SHAPES}, got {shapes!r}")
        self.attributes, self.shapes = bool(attributes), shapes
        self.attribute_words = check_attribute_words(attribute_words, "layout_tokenizer.attribute_words")

    def __call__(self, layouts: Sequence[Layout | None], size: tuple[int, int]) -> Tensor:
        """Return (B, :attr:`channels`, h, w) float32 blueprints of ``size``; that of None is empty.

        Raises:
            UserError: an object has no attribute, or one that is none of :attr:`attribute_words`.
        """
        empty = torch.zeros(self.channels, *size)
        return torch.stack([empty if layout is None else self._draw(layout, size) for layout in layouts])

    def _draw(self, layout: Layout, size: tuple[int, int]) -> Tensor:
        attributes: Sequence[str | None] = [None] * len(layout)
        if self.attributes:
            attributes = layout.attributes or attributes
            wrong = [(n, a) for n, a in zip(layout.names, attributes) if a not in self.attribute_words]
            if wrong:
                name, attribute = wrong[0]
                raise UserError(
                    f"image {layout.image_id}: object {name!r} has the attribute {attribute!r}, it should be one of "
                    f"{', '.join(self.attribute_words)}; add LoadPerceptionAttributes to the pipeline, or set "
                    "layout_tokenizer.attributes=False"
                )
        codes = object_codes(layout.names, attributes, self.attribute_words)
        masks = layout.masks if self.shapes == "masks" else None
        return draw_blueprint(codes, layout.boxes.cpu(), size, masks)


def condition_arguments(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an editor's config says about prompts and blueprints, flat or in the group ``conditioning``."""
    group = cfg.get("conditioning") or {}
    given = {name: cfg.get(name, group.get(name)) for name in ("layout_condition", "blueprint_shapes")}
    return {**(cfg.get("layout_tokenizer") or {}), **{k: v for k, v in given.items() if v is not None}}


def read_condition(settled: Mapping[str, Any]) -> tuple[dict[str, Any], Blueprint | None]:
    """Split the arguments of prompts and blueprints.

    Args:
        settled: result of :func:`.layout_config.settle_layout_config`.

    Returns:
        Arguments of :class:`.layout_tokenizer.LayoutTokenizer`, with captions as prompts for ``blueprint``, and the
        blueprint, or None for ``tokens``.
    """
    arguments = dict(settled)
    condition = arguments.pop("layout_condition", "tokens")
    shapes = arguments.pop("blueprint_shapes", "boxes")
    if condition == "tokens":
        return arguments, None
    words = arguments.get("attribute_words", ATTRIBUTES)
    blueprint = Blueprint(arguments.get("attributes", True), words, shapes)
    if condition == "blueprint":
        arguments["template"] = "caption"
    return arguments, blueprint


def stored_condition(template: str, blueprint: Blueprint | None) -> dict[str, Any]:
    """Return what ``layout_config.json`` stores about the condition, for :func:`.layout_config.write_layout_config`."""
    if blueprint is None:
        return dict(layout_condition="tokens")
    condition = "blueprint" if template == "caption" else "both"
    return dict(
        layout_condition=condition, blueprint_shapes=blueprint.shapes, attributes=blueprint.attributes
    )


def widen_input(network: nn.Module, convolution: nn.Conv2d, latents: int, channels: int) -> None:
    """Let a network take ``channels`` more input channels, in place; their weights are 0, so its output is the same.

    Args:
        network: a diffusers model with ``in_channels`` in its config; unchanged if it already takes them.
        convolution: its first layer.
        latents: number of the latents' channels.
        channels: number of further channels.

    Raises:
        UserError: the network takes another number of channels.
    """
    missing = latents + channels - convolution.in_channels
    if missing == 0:
        return
    if missing != channels:
        raise UserError(
            f"unet: {type(network).__name__} takes {convolution.in_channels} channels, it should take {latents} "
            "(latents)"
            + (f" or {latents + channels} (latents and blueprint)" if channels else "")
            + "; set layout_condition to that of the model's training, or start from another model"
        )
    weight = convolution.weight
    added = weight.new_zeros(weight.shape[0], channels, *weight.shape[2:])
    convolution.weight = nn.Parameter(torch.cat((weight.detach(), added), dim=1))
    convolution.in_channels = latents + channels
    network.register_to_config(in_channels=latents + channels)
