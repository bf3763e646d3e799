"""Built-in networks: YOLOv4 and YOLOv4-tiny with configurable width, depth, number of classes and anchors.

With width 1, depth 1 and 80 classes they equal darknet's ``yolov4.cfg`` and ``yolov4-tiny.cfg`` layer by layer.
"""

from __future__ import annotations

from collections.abc import Sequence

from detdiffusion.utils.errors import UserError

from .cfg import DarknetCfg, Section

# Anchors of darknet's files, in pixels of the network's input.
ANCHORS = (
    (12, 16), (19, 36), (40, 28), (36, 75), (76, 55), (72, 146), (142, 110), (192, 243), (459, 401),
)  # fmt: skip
TINY_ANCHORS = ((10, 14), (23, 27), (37, 58), (81, 82), (135, 169), (344, 319))


class _Builder:
    """Appends sections and returns their layer numbers."""

    def __init__(self, width: float, activation: str) -> None:
        self.sections: list[Section] = []
        self.width, self.activation = width, activation

    def add(self, kind: str, **options) -> int:
        self.sections.append(Section(kind, {key: str(value) for key, value in options.items()}))
        return len(self.sections) - 1

    def conv(self, filters: int, size: int, stride: int = 1) -> int:
        return self.add(
            "convolutional",
            batch_normalize=1,
            filters=max(8, round(filters * self.width / 8) * 8),
            size=size,
            stride=stride,
            pad=1,
            activation=self.activation,
        )

    def route(self, *layers: int, **options) -> int:
        return self.add("route", layers=",".join(map(str, layers)), **options)

    def pool(self, size: int, stride: int) -> int:
        return self.add("maxpool", size=size, stride=stride)

    def yolo(self, mask: Sequence[int], anchors, num_classes: int, scale_x_y: float, **options) -> None:
        self.add(
            "convolutional",
            size=1,
            stride=1,
            pad=1,
            filters=len(mask) * (5 + num_classes),
            activation="linear",
        )
        self.add(
            "yolo",
            mask=",".join(map(str, mask)),
            anchors=", ".join(f"{w:g},{h:g}" for w, h in anchors),
            classes=num_classes,
            num=len(anchors),
            ignore_thresh=0.7,
            scale_x_y=scale_x_y,
            **options,
        )


def yolov4(
    num_classes: int = 80,
    width: float = 1.0,
    depth: float = 1.0,
    anchors: Sequence[Sequence[float]] = ANCHORS,
    input_size: Sequence[int] = (608, 608),
) -> DarknetCfg:
    """Build YOLOv4: CSPDarknet53 with Mish, SPP, PANet and three YOLO layers (strides 8, 16 and 32).

    Args:
        num_classes: number of classes.
        width: multiplier of all channels (rounded to multiples of 8).
        depth: multiplier of the residual blocks per stage (at least 1 block remains).
        anchors: nine ``(width, height)`` in pixels of the input, in ascending order of size.
        input_size: ``(width, height)`` of the network's input in darknet.

    Raises:
        UserError: the number of anchors is not nine.
    """
    if len(anchors) != 9:
        raise UserError(f"YOLOv4 takes 9 anchors, 3 for each stride; got {len(anchors)}")
    net = _Builder(width, "mish")
    net.conv(32, 3)
    stages = []
    for filters, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        half = filters if filters == 64 else filters // 2  # the first stage does not split its channels
        down = net.conv(filters, 3, stride=2)
        skip = net.conv(half, 1)
        net.route(down)
        net.conv(half, 1)
        for _ in range(max(1, round(blocks * depth))):
            net.conv(filters // 2, 1)
            net.conv(half, 3)
            net.add("shortcut", **{"from": -3, "activation": "linear"})
        last = net.conv(half, 1)
        net.route(last, skip)
        stages.append(net.conv(filters, 1))

    net.activation = "leaky"
    for filters, size in ((512, 1), (1024, 3), (512, 1)):
        top = net.conv(filters, size)
    pools = []
    for size in (5, 9, 13):
        pools.append(net.pool(size, 1))
        if size != 13:
            net.route(top)
    net.route(*reversed(pools), top)
    for filters, size in ((512, 1), (1024, 3), (512, 1)):
        top = net.conv(filters, size)
    laterals = [top]
    for filters, stage in ((256, stages[3]), (128, stages[2])):
        net.conv(filters, 1)
        up = net.add("upsample", stride=2)
        net.route(stage)
        side = net.conv(filters, 1)
        net.route(side, up)
        laterals.append(_five(net, filters))
    options = dict(iou_thresh=0.213, max_delta=5)
    end = laterals[2]
    for level, (filters, scale) in enumerate(((128, 1.2), (256, 1.1), (512, 1.05))):
        if level:
            net.route(end)
            down = net.conv(filters, 3, stride=2)
            net.route(down, laterals[2 - level])
            end = _five(net, filters)
        net.conv(filters * 2, 3)
        net.yolo(range(3 * level, 3 * level + 3), anchors, num_classes, scale, **options)
    return _finish(net, input_size, "yolov4")


def yolov4_tiny(
    num_classes: int = 80,
    width: float = 1.0,
    anchors: Sequence[Sequence[float]] = TINY_ANCHORS,
    input_size: Sequence[int] = (416, 416),
) -> DarknetCfg:
    """Build YOLOv4-tiny: three CSP blocks on half of the channels, two YOLO layers (strides 32 and 16), leaky ReLU.

    As in darknet's file, the layer of stride 32 uses anchors 3 to 5 and that of stride 16 anchors 1 to 3.
    Arguments as for :func:`yolov4`, with six anchors.

    Raises:
        UserError: the number of anchors is not six.
    """
    if len(anchors) != 6:
        raise UserError(f"YOLOv4-tiny takes 6 anchors; got {len(anchors)}")
    net = _Builder(width, "leaky")
    net.conv(32, 3, stride=2)
    net.conv(64, 3, stride=2)
    for filters in (64, 128, 256):
        start = net.conv(filters, 3)
        net.route(start, groups=2, group_id=1)
        first = net.conv(filters // 2, 3)
        second = net.conv(filters // 2, 3)
        net.route(second, first)
        merged = net.conv(filters, 1)
        net.route(start, merged)
        net.pool(2, 2)
    net.conv(512, 3)
    top = net.conv(256, 1)
    net.conv(512, 3)
    net.yolo((3, 4, 5), anchors, num_classes, 1.05)
    net.route(top)
    net.conv(128, 1)
    up = net.add("upsample", stride=2)
    net.route(up, merged)
    net.conv(256, 3)
    net.yolo((1, 2, 3), anchors, num_classes, 1.05)
    return _finish(net, input_size, "yolov4-tiny")


PRESETS = {"yolov4": yolov4, "yolov4-tiny": yolov4_tiny}


def preset(arch: str, **arguments) -> DarknetCfg:
    """Build a built-in network by name.

    Raises:
        UserError: the name or an argument is unknown.
    """
    if arch not in PRESETS:
        raise UserError(
            f"no built-in network {arch!r}; choose one of {', '.join(PRESETS)}, or the path of a .cfg"
        )
    try:
        return PRESETS[arch](**arguments)
    except TypeError as error:
        raise UserError(f"built-in network {arch!r}: {error}") from None


def _five(net: _Builder, filters: int) -> int:
    for factor, size in ((1, 1), (2, 3), (1, 1), (2, 3), (1, 1)):
        last = net.conv(filters * factor, size)
    return last


def _finish(net: _Builder, input_size: Sequence[int], name: str) -> DarknetCfg:
    width, height = input_size
    options = dict(width=str(width), height=str(height), channels="3")
    return DarknetCfg(Section("net", options), net.sections, name)
