"""YOLOv4's head: the prediction convolutions, decoding of boxes, and the losses.

Shape suffixes: B images, A anchors of a level, H, W cells, K values of an anchor (x, y, w, h, objectness,
classes), P positives, G objects of an image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.structures.bbox import bbox_overlaps
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import complete_box_iou_loss

from detdiffusion.registry import MODELS
from detdiffusion.utils.errors import UserError

from ..ignored_regions import region_boxes
from .assignment import assign
from .cfg import Section
from .nms import suppress

# Darknet's default `-thresh`, and the NMS threshold of its Python interface.
DARKNET_TEST_CFG = dict(
    score_thr=0.25, nms=dict(type="nms", iou_threshold=0.45), max_per_img=-1, clip_border=True
)
LOSS_WEIGHTS = dict(bbox=2.0, obj=1.0, cls=1.0)


class YOLOLevel:
    """The settings of one ``[yolo]`` section.

    Attributes:
        anchors_A2: anchors of this level, (w, h) in pixels of the input.
        all_anchors: anchors of the network; ``mask`` holds the indices of this level's anchors.
        stride: size of a cell in pixels.
        scale_x_y, new_coords, iou_thresh, ignore_thresh: darknet's options of the same names.

    Raises:
        UserError: the section does not match the convolution before it.
    """

    def __init__(self, conv: Section, yolo: Section, stride: int) -> None:
        numbers = yolo.numbers("anchors")
        self.all_anchors = torch.tensor(numbers[: len(numbers) // 2 * 2]).view(-1, 2)
        self.mask = yolo.integers("mask")
        if not self.mask or not all(0 <= m < len(self.all_anchors) for m in self.mask):
            raise yolo.error(f"mask={yolo.text('mask')} does not fit its {len(self.all_anchors)} anchors")
        self.num_classes = yolo.integer("classes", 20)
        wanted = len(self.mask) * (5 + self.num_classes)
        if conv.integer("filters") != wanted:
            raise conv.error(
                f"before [yolo] has filters={conv.text('filters')}; {len(self.mask)} anchors and "
                f"{self.num_classes} classes take {wanted}"
            )
        self.new_coords = bool(yolo.integer("new_coords", 0))
        logistic = conv.text("activation", "logistic")
        if (conv.integer("size", 1), conv.integer("stride", 1)) != (1, 1) or conv.integer(
            "batch_normalize", 0
        ):
            raise conv.error("before [yolo] must be 1 x 1 with stride 1, without batch_normalize")
        if logistic != ("logistic" if self.new_coords else "linear"):
            raise conv.error(
                f"before [yolo] with new_coords={int(self.new_coords)} has activation={logistic}; only linear with "
                "new_coords=0 and logistic with new_coords=1 are supported"
            )
        self.stride, self.scale_x_y = stride, yolo.number("scale_x_y", 1)
        self.iou_thresh, self.ignore_thresh = yolo.number("iou_thresh", 1), yolo.number("ignore_thresh", 0.5)
        self.anchors_A2 = self.all_anchors[self.mask]

    def decode(self, raw_BAHWK: Tensor) -> Tensor:
        """Decode raw outputs to (B, A, H, W, 4) xyxy boxes in pixels of the input.

        As darknet's ``get_yolo_box``: the centre is ``(cell + s·sigmoid(t) - (s - 1) / 2)·stride``, the size is
        ``anchor·exp(t)``, or ``anchor·(2·sigmoid(t))²`` with ``new_coords``.
        """
        height, width = raw_BAHWK.shape[2:4]
        columns = torch.arange(width, device=raw_BAHWK.device)
        rows = torch.arange(height, device=raw_BAHWK.device)
        cells_HW2 = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
        offset = raw_BAHWK[..., :2].sigmoid() * self.scale_x_y - (self.scale_x_y - 1) / 2
        centre = (cells_HW2 + offset) * self.stride
        size = raw_BAHWK[..., 2:4]
        if self.new_coords:
            size = (2 * size.sigmoid()).square()
        else:
            size = size.clamp(max=16).exp()  # clamped so that areas stay finite
        half = size * self.anchors_A2.to(raw_BAHWK)[None, :, None, None] / 2
        return torch.cat([centre - half, centre + half], dim=-1)


@MODELS.register_module()
class YOLOv4Head(BaseDenseHead):
    """The YOLO layers of a network file.

    Args:
        heads: ``heads`` of :class:`~detdiffusion.models.detectors.yolov4.network.DarknetNetwork`.
        loss_weights: weights of ``bbox`` (CIoU of the positives), ``obj`` (BCE of the objectness) and ``cls``
            (BCE of the classes of the positives); each is a sum over the batch, divided by the number of
            positives on all ranks.
        train_cfg: unused; assignment and thresholds come from the network file.
        test_cfg: ``score_thr`` (for objectness and for objectness × class probability), ``nms`` (``type`` ``nms``
            or ``diou``, ``iou_threshold``), ``max_per_img`` (below 1: no limit), ``clip_border``.

    Attributes:
        ignores_regions: that it does, see :meth:`loss_by_feat`.
    """

    ignores_regions = True

    def __init__(
        self,
        heads: Sequence[tuple[Section, Section, int, int, int]],
        loss_weights: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.levels = [YOLOLevel(conv, yolo, stride) for conv, yolo, _, _, stride in heads]
        self.num_classes = self.levels[0].num_classes
        self.convs_pred = nn.ModuleList(
            nn.Conv2d(channels, conv.integer("filters"), 1) for conv, _, _, channels, _ in heads
        )
        self.loss_weights = {**LOSS_WEIGHTS, **(loss_weights or {})}
        if self.loss_weights.keys() != LOSS_WEIGHTS.keys():
            raise UserError(f"YOLOv4: loss_weights={loss_weights}; the losses are {', '.join(LOSS_WEIGHTS)}")
        self.train_cfg = train_cfg
        self.test_cfg = {**DARKNET_TEST_CFG, **(test_cfg or {})}
        self._init_predictors()

    def _init_predictors(self) -> None:
        """Initialise objectness at 0.01, as nearly all cells are empty (RetinaNet, arXiv:1708.02002, 4.1)."""
        for conv, level in zip(self.convs_pred, self.levels):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)
            with torch.no_grad():
                conv.bias.view(len(level.mask), -1)[:, 4] = -math.log(99)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor]]:
        """Return the raw outputs of each level, (B, A·K, H, W)."""
        return ([conv(x) for conv, x in zip(self.convs_pred, features)],)

    def by_anchor(self, raw_maps: Sequence[Tensor]) -> list[Tensor]:
        """Reshape raw outputs to (B, A, H, W, K) float32."""
        shaped = []
        for raw, level in zip(raw_maps, self.levels):
            count, _, height, width = raw.shape
            raw = raw.float().view(count, len(level.mask), 5 + self.num_classes, height, width)
            shaped.append(raw.permute(0, 1, 3, 4, 2))
        return shaped

    def loss_by_feat(
        self,
        raw_maps: Sequence[Tensor],
        batch_gt_instances: Sequence[InstanceData],
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: Sequence[InstanceData] | None = None,
    ) -> dict[str, Tensor]:
        """Compute ``loss_bbox``, ``loss_obj`` and ``loss_cls`` of a batch.

        Boxes are xyxy in pixels of the network's input. As in darknet, predictions whose IoU with an object (or
        an ignored region) is above ``ignore_thresh`` and whose highest class probability is above 0.25 are left
        out of the objectness loss unless they are positives.
        """
        maps = self.by_anchor(raw_maps)
        boxes = [instances.bboxes for instances in batch_gt_instances]
        boxes = [getattr(b, "tensor", b) for b in boxes]
        labels = [instances.labels for instances in batch_gt_instances]
        extra = region_boxes(batch_gt_instances_ignore, maps[0])
        regions = [torch.cat(both) for both in zip(boxes, extra)] or boxes
        positives = [
            assign(
                level.all_anchors, level.mask, level.iou_thresh, level.stride, raw.shape[2:4], boxes, labels
            )
            for level, raw in zip(self.levels, maps)
        ]
        count = sum(len(p.labels) for p in positives)
        count = max(float(reduce_mean(maps[0].new_tensor([count]))), 1.0)
        losses: dict[str, list[Tensor]] = {name: [] for name in LOSS_WEIGHTS}
        for level, raw_BAHWK, found in zip(self.levels, maps, positives):
            at = (found.images, found.slots, found.rows, found.columns)
            boxes_BAHW4 = level.decode(raw_BAHWK)
            target = torch.zeros_like(raw_BAHWK[..., 4])
            weight = self._not_ignored(level, raw_BAHWK.detach(), boxes_BAHW4.detach(), regions)
            target[at], weight[at] = 1.0, 1.0
            losses["bbox"].append(complete_box_iou_loss(boxes_BAHW4[at], found.boxes, reduction="sum"))
            losses["obj"].append(
                F.binary_cross_entropy_with_logits(raw_BAHWK[..., 4], target, weight, reduction="sum")
            )
            classes = torch.zeros_like(raw_BAHWK[..., 5:])
            classes[(*at, found.labels)] = 1.0  # two objects assigned to one slot: both classes are targets
            once = target > 0
            losses["cls"].append(
                F.binary_cross_entropy_with_logits(raw_BAHWK[..., 5:][once], classes[once], reduction="sum")
            )
        return {
            f"loss_{name}": self.loss_weights[name] * sum(parts) / count for name, parts in losses.items()
        }

    @staticmethod
    def _not_ignored(level, raw_BAHWK: Tensor, boxes_BAHW4: Tensor, regions: Sequence[Tensor]) -> Tensor:
        weight = torch.ones_like(raw_BAHWK[..., 4])
        for image, region in enumerate(regions):
            if len(region):
                sure = raw_BAHWK[image, ..., 5:].amax(dim=-1).sigmoid() > 0.25
                overlap = bbox_overlaps(boxes_BAHW4[image][sure], region).amax(dim=1)
                weight[image][sure] = (overlap <= level.ignore_thresh).to(weight)
        return weight

    def predict_by_feat(
        self,
        raw_maps: Sequence[Tensor],
        batch_img_metas: Sequence[dict],
        cfg: dict | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> list[InstanceData]:
        """Predict detections as darknet does: each class of a slot whose objectness × class is above the threshold.

        Args:
            raw_maps: outputs of :meth:`forward`.
            batch_img_metas: ``scale_factor``, ``ori_shape`` and, for a letterboxed image, ``letterbox`` (offset
                of the image within the letterbox in pixels, x and y).
            cfg: overrides of ``test_cfg``.
            rescale: return boxes in pixels of the original image.
            with_nms: apply non-maximum suppression.

        Returns:
            For each image, ``bboxes`` (N, 4) xyxy, ``scores`` (N,) and ``labels`` (N,) by descending score.
        """
        cfg = {**self.test_cfg, **(cfg or {})}
        maps = self.by_anchor(raw_maps)
        boxes = [level.decode(m) for level, m in zip(self.levels, maps)]
        results = []
        for image, meta in enumerate(batch_img_metas):
            values = torch.cat([m[image].reshape(-1, m.shape[-1]) for m in maps])
            found = torch.cat([b[image].reshape(-1, 4) for b in boxes])
            objectness = values[:, 4].sigmoid()
            likely = objectness > cfg["score_thr"]
            scores = objectness[likely, None] * values[likely, 5:].sigmoid()
            cells, labels = (scores > cfg["score_thr"]).nonzero(as_tuple=True)
            found, scores = found[likely][cells], scores[cells, labels]
            if rescale:
                found = found - found.new_tensor(meta.get("letterbox", (0.0, 0.0))).repeat(2)
                found = found / found.new_tensor(meta["scale_factor"]).repeat(2)
            if with_nms:
                kept = suppress(found, scores, labels, cfg["nms"]["type"], cfg["nms"]["iou_threshold"])
                kept = kept[: cfg["max_per_img"]] if cfg["max_per_img"] > 0 else kept
                found, scores, labels = found[kept], scores[kept], labels[kept]
            if cfg["clip_border"]:
                height, width = meta["ori_shape"] if rescale else meta["img_shape"]
                found = torch.minimum(found.clamp(min=0), found.new_tensor([width, height, width, height]))
            results.append(InstanceData(bboxes=found, scores=scores, labels=labels))
        return results
