"""YOLOv4 as an mmdet detector, built from a darknet network file or a built-in network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmdet.models.detectors import SingleStageDetector
from mmdet.models.detectors.base import BaseDetector

from detdiffusion.registry import MODELS
from detdiffusion.utils.errors import UserError

from .cfg import DarknetCfg, read_cfg
from .head import YOLOv4Head
from .network import DarknetNetwork
from .presets import PRESETS, preset
from .weights import DarknetConvolution

# Darknet's input: RGB in [0, 1].
DARKNET_INPUT = dict(
    type="mmdet.DetDataPreprocessor",
    mean=[0.0, 0.0, 0.0],
    std=[255.0, 255.0, 255.0],
    bgr_to_rgb=True,
    pad_size_divisor=32,
)


@MODELS.register_module()
class YOLOv4(SingleStageDetector):
    """YOLOv4, YOLOv4-tiny and other darknet detectors that consist of the same types of layers.

    Args:
        cfg: path of a darknet ``.cfg``; or the name of a built-in network (``yolov4``, ``yolov4-tiny``); or a
            dict with the name under ``arch`` and its arguments (``num_classes``, ``width``, ``depth``,
            ``anchors``, ``input_size``; see
            :mod:`~detdiffusion.models.detectors.yolov4.presets`).
        data_preprocessor: config of the data preprocessor; default :data:`DARKNET_INPUT`.
        loss_weights, train_cfg, test_cfg: see
            :class:`~detdiffusion.models.detectors.yolov4.head.YOLOv4Head`; ``test_cfg`` defaults to darknet's
            (score threshold 0.25, NMS 0.45, no limit of detections). Set ``score_thr=0.001`` to measure COCO AP.
        init_cfg: see :class:`mmengine.model.BaseModule`.

    Attributes:
        network_cfg: the sections of the network file.
        backbone: all layers before the predictions (CSPDarknet53, SPP and PANet); returns the features of each
            YOLO layer in the file's order (the last one has stride 32 in YOLOv4).
        bbox_head: the YOLO layers.

    Raises:
        UserError: the network file is missing or damaged, or has a layer that is not supported.
    """

    def __init__(
        self,
        cfg: str | Mapping | DarknetCfg = "yolov4",
        data_preprocessor: dict | None = None,
        loss_weights: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        # SingleStageDetector builds backbone and head from configs; here both come from one network file.
        BaseDetector.__init__(self, data_preprocessor=data_preprocessor or DARKNET_INPUT, init_cfg=init_cfg)
        self.network_cfg = _network_cfg(cfg)
        self.backbone = DarknetNetwork(self.network_cfg)
        self.bbox_head = YOLOv4Head(self.backbone.heads, loss_weights, train_cfg=train_cfg, test_cfg=test_cfg)
        self.train_cfg, self.test_cfg = train_cfg, self.bbox_head.test_cfg

    def darknet_convolutions(self) -> list[DarknetConvolution]:
        """Return all convolutions in the network file's order, which is that of ``.weights`` files."""
        found = [
            DarknetConvolution(i, layer.conv, layer.bn)
            for i, layer in enumerate(self.backbone.layers)
            if hasattr(layer, "conv")
        ]
        for (_, _, i, _, _), conv in zip(self.backbone.heads, self.bbox_head.convs_pred):
            found.append(DarknetConvolution(i, conv, None))
        return sorted(found, key=lambda layer: layer.index)


def _network_cfg(cfg: str | Path | Mapping | DarknetCfg) -> DarknetCfg:
    if isinstance(cfg, DarknetCfg):
        return cfg
    if isinstance(cfg, Mapping):
        if "arch" not in cfg:
            raise UserError(f"YOLOv4: cfg={dict(cfg)} lacks 'arch', one of {', '.join(PRESETS)}")
        return preset(**cfg)
    return preset(cfg) if cfg in PRESETS else read_cfg(cfg)
