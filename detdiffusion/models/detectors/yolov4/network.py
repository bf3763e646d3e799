"""Darknet's layers as torch modules, built from a network file.

Shape suffixes: B batch, C channels, H, W cells.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cfg import DarknetCfg, Section

# Options that change what a layer computes and are not implemented; they raise instead of being ignored.
_UNSUPPORTED = {
    "convolutional": (
        "antialiasing", "assisted_excitation", "binary", "xnor", "bin_output", "cbn", "flipped", "share_index",
        "sway", "rotate", "stretch", "stretch_sway", "coordconv", "dontload", "dontloadscales",
    ),
    "maxpool": ("antialiasing", "maxpool_depth"),
    "shortcut": ("weights_type", "weights_normalization"),
    "upsample": ("scale", "reverse"),
    "yolo": ("map", "embedding_layer"),
}  # fmt: skip
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "leaky": lambda: nn.LeakyReLU(0.1, inplace=True),
    "mish": lambda: nn.Mish(inplace=True),
    "relu": lambda: nn.ReLU(inplace=True),
    "swish": lambda: nn.SiLU(inplace=True),
    "logistic": nn.Sigmoid,
}


class Convolution(nn.Module):
    """Convolution, batch normalisation (eps 1e-5 as darknet's) and activation."""

    def __init__(self, section: Section, in_channels: int) -> None:
        super().__init__()
        size, stride = section.integer("size", 1), section.integer("stride", 1)
        normalise = bool(section.integer("batch_normalize", 0))
        groups, self.filters = section.integer("groups", 1), section.integer("filters", 1)
        if groups < 1 or in_channels % groups or self.filters % groups:
            raise section.error(
                f"groups={groups} must divide its {in_channels} input channels and {self.filters} filters"
            )
        self.stride = section.integer("stride_x", stride)
        if self.stride != section.integer("stride_y", stride):
            raise section.error("with different stride_x and stride_y is not supported")
        dilation = section.integer("dilation", 1) if size > 1 else 1
        padding = size // 2 if section.integer("pad", 0) else section.integer("padding", 0)
        self.conv = nn.Conv2d(
            in_channels,
            self.filters,
            size,
            self.stride,
            padding * dilation,
            dilation,
            groups,
            bias=not normalise,
        )
        self.bn = nn.BatchNorm2d(self.filters, eps=1e-5, momentum=0.03) if normalise else None
        self.activation = activation(section, "logistic")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.conv(x_BCHW)
        return self.activation(x_BCHW if self.bn is None else self.bn(x_BCHW))


class Route(nn.Module):
    """Concatenates the channels of several layers, or of one of ``groups`` equal parts of each layer."""

    def __init__(self, section: Section, channels: list[int]) -> None:
        super().__init__()
        self.groups, self.group = section.integer("groups", 1), section.integer("group_id", 0)
        if not 0 <= self.group < self.groups or any(c % self.groups for c in channels):
            raise section.error(
                f"groups={self.groups}, group_id={self.group} do not fit its inputs of {channels} channels"
            )
        self.filters = sum(channels) // self.groups

    def forward(self, *inputs_BCHW: Tensor) -> Tensor:
        if self.groups > 1:
            inputs_BCHW = tuple(x.chunk(self.groups, dim=1)[self.group] for x in inputs_BCHW)
        return inputs_BCHW[0] if len(inputs_BCHW) == 1 else torch.cat(inputs_BCHW, dim=1)


class Shortcut(nn.Module):
    """Sums layers of equal shape."""

    def __init__(self, section: Section, channels: list[int]) -> None:
        super().__init__()
        if len(set(channels)) > 1:
            raise section.error(f"adds layers of {channels} channels; only equal ones are supported")
        self.filters = channels[0]
        self.activation = activation(section, "linear")

    def forward(self, *inputs_BCHW: Tensor) -> Tensor:
        return self.activation(sum(inputs_BCHW[1:], start=inputs_BCHW[0]))


class MaxPool(nn.Module):
    """Max pooling padded as in darknet: ``padding`` (default size - 1) in total, the smaller half before, with -inf."""

    def __init__(self, section: Section, channels: int) -> None:
        super().__init__()
        self.filters, self.stride = channels, section.integer("stride", 1)
        self.size = section.integer("size", self.stride)
        padding = section.integer("padding", self.size - 1)
        self.before, self.after = padding // 2, padding - padding // 2

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.before == self.after and self.before <= self.size // 2:
            return F.max_pool2d(x_BCHW, self.size, self.stride, self.before)
        pad = (self.before, self.after, self.before, self.after)
        return F.max_pool2d(F.pad(x_BCHW, pad, value=float("-inf")), self.size, self.stride)


class Upsample(nn.Module):
    """Repeats each cell ``stride`` times in both directions (nearest neighbour)."""

    def __init__(self, section: Section, channels: int) -> None:
        super().__init__()
        self.filters, self.factor = channels, section.integer("stride", 2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.interpolate(x_BCHW, scale_factor=float(self.factor), mode="nearest")


class DarknetNetwork(nn.Module):
    """All layers of a network file except the YOLO layers and the convolutions before them, which form the head.

    Args:
        cfg: the network file.

    Attributes:
        layers: one module per layer, indexed by layer number; ``Identity`` for the layers of the head.
        heads: (convolution's section, ``[yolo]`` section, layer number of the convolution, its input
            channels, stride in pixels of the input) for each YOLO layer, in the file's order.

    Raises:
        UserError: a layer or option is not supported; the message names its line.
    """

    def __init__(self, cfg: DarknetCfg) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.heads: list[tuple[Section, Section, int, int, int]] = []
        self._inputs: list[tuple[int, ...]] = []
        channels, strides = {-1: cfg.net.integer("channels", 3)}, {-1: 1.0}
        for i, section in enumerate(cfg.layers):
            _check_options(section)
            inputs = (i - 1,)
            stride = strides[i - 1]
            if section.kind == "convolutional":
                if i + 1 < len(cfg.layers) and cfg.layers[i + 1].kind == "yolo":
                    self.heads.append((section, cfg.layers[i + 1], i, channels[i - 1], int(stride)))
                    module, filters = nn.Identity(), section.integer("filters")
                else:
                    module = Convolution(section, channels[i - 1])
                    stride *= module.stride
            elif section.kind == "yolo":
                if i == 0 or cfg.layers[i - 1].kind != "convolutional":
                    raise section.error("must follow a [convolutional]")
                module, filters = nn.Identity(), channels[i - 1]
            elif section.kind == "route":
                inputs = tuple(cfg.sources(i, "layers"))
                module = Route(section, [channels[j] for j in inputs])
                stride = strides[inputs[0]]
            elif section.kind == "shortcut":
                inputs = (i - 1, *cfg.sources(i, "from"))
                module = Shortcut(section, [channels[j] for j in inputs])
            elif section.kind == "maxpool":
                module = MaxPool(section, channels[i - 1])
                stride *= module.stride
            elif section.kind == "upsample":
                module = Upsample(section, channels[i - 1])
                stride /= module.factor
            else:
                raise section.error(
                    "is not supported; supported: convolutional, maxpool, route, shortcut, upsample and yolo"
                )
            if len({strides[j] for j in inputs}) > 1:
                raise section.error(f"of layer {i}: its inputs have different sizes")
            channels[i], strides[i] = filters if isinstance(module, nn.Identity) else module.filters, stride
            self.layers.append(module)
            self._inputs.append(inputs)
        if not self.heads:
            raise cfg.net.error("is not followed by any [yolo]: this is not a detector")
        self._check_heads()
        self._last_use = {j: i for i, inputs in enumerate(self._inputs) for j in inputs}

    def _check_heads(self) -> None:
        hidden = {n for _, _, i, _, _ in self.heads for n in (i, i + 1)}
        for i, inputs in enumerate(self._inputs):
            if i not in hidden and set(inputs) & hidden:
                raise self.heads[0][1].error(f"or the convolution before it feeds layer {i}: not supported")

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Return the features that each YOLO layer's convolution takes as input.

        Args:
            images_BCHW: RGB in [0, 1]; H and W multiples of the largest stride.
        """
        outputs: dict[int, Tensor] = {-1: images_BCHW}
        features = []
        starts = {i for _, _, i, _, _ in self.heads}
        for i, (layer, inputs) in enumerate(zip(self.layers, self._inputs)):
            if i in starts:
                features.append(outputs[i - 1])
            outputs[i] = (
                outputs[inputs[0]] if isinstance(layer, nn.Identity) else self._run(i, layer, outputs)
            )
            for j in inputs:
                if self._last_use[j] == i and j in outputs:
                    del outputs[j]
        return tuple(features)

    def _run(self, i: int, layer: nn.Module, outputs: dict[int, Tensor]) -> Tensor:
        return layer(*(outputs[j] for j in self._inputs[i]))


def activation(section: Section, default: str) -> nn.Module:
    """Return the activation module that a section names.

    Raises:
        UserError: the activation is unknown.
    """
    name = section.text("activation", default)
    if name not in _ACTIVATIONS:
        raise section.error(f"activation={name} is not supported; supported: {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]()


def _check_options(section: Section) -> None:
    for key in _UNSUPPORTED.get(section.kind, ()):
        if section.options.get(key, "0") not in ("0", "none", "1" if key == "scale" else "0"):
            raise section.error(f"{key}={section.options[key]} is not supported")
