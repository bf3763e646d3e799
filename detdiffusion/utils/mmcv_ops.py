"""Replacements for mmcv's compiled operators (``mmcv._ext``), based on torchvision's kernels and plain torch.

They cover the operators that Faster R-CNN, FCOS and ATSS use in training and inference: NMS, soft NMS, RoIAlign
(average pooling), the sigmoid focal loss and box overlaps; forward and backward, on CPU and CUDA. Signatures are
mmcv's: outputs are written into the tensors that the caller passes. Any other operator raises an error that says how
to build it.
"""

import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import UserError
from .torchrun import is_first_process

INSTALL_COMMAND = (
    "MMCV_WITH_OPS=1 pip install --no-build-isolation --force-reinstall --no-deps "
    "--no-binary onedl-mmcv onedl-mmcv"
)
_warned = False


def _full_precision(x: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32, because half precision is too coarse for box coordinates."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Greedy NMS.

    Args:
        boxes: (N, 4) xyxy; width is ``x2 - x1 + offset``.
        scores: (N,).
        iou_threshold: a box is dropped if its IoU with a kept box is greater.
        offset: 0 or 1.

    Returns:
        (K,) int64 indices of the kept boxes, in descending order of score.
    """
    boxes, scores = _full_precision(boxes), _full_precision(scores)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    return torch.ops.torchvision.nms(boxes, scores.to(boxes.dtype), float(iou_threshold))


def _overlaps(boxes1: Tensor, boxes2: Tensor, offset: int = 0, mode: int = 0) -> Tensor:
    """IoU (mode 0) or intersection over the first box's area (mode 1) of (..., 4) xyxy boxes."""
    size = (
        torch.minimum(boxes1[..., 2:], boxes2[..., 2:]) - torch.maximum(boxes1[..., :2], boxes2[..., :2])
    ) + offset
    intersection = size.clamp(min=0).prod(-1)
    area1 = (boxes1[..., 2:] - boxes1[..., :2] + offset).prod(-1)
    area2 = (boxes2[..., 2:] - boxes2[..., :2] + offset).prod(-1)
    union = area1 + area2 - intersection if mode == 0 else area1.expand_as(intersection)
    return intersection / union.clamp(min=float(offset) or torch.finfo(union.dtype).tiny)


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int = 0, aligned: bool = False, offset: int = 0
) -> None:
    """Write the overlaps of (M, 4) and (N, 4) xyxy boxes into ``ious``: (M, N), or (M,) if ``aligned``."""
    first = bboxes1 if aligned else bboxes1[:, None]
    ious.copy_(_overlaps(first, bboxes2, offset, mode))


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft NMS (Bodla et al. 2017) on the CPU.

    Args:
        boxes: (N, 4) xyxy; scores: (N,).
        dets: (N, 5), receives the kept boxes and their lowered scores in its first K rows.
        iou_threshold: overlap from which methods 0 and 1 apply; sigma: width of method 2.
        min_score: a box is dropped when its lowered score is less.
        method: 0 drops (hard NMS), 1 multiplies by 1 - IoU, 2 by exp(-IoU^2 / sigma).
        offset: 0 or 1, added to widths and heights.

    Returns:
        (K,) int64 indices of the kept boxes, in descending order of lowered score.
    """
    scores = scores.clone()
    candidates = torch.arange(len(boxes))
    kept = []
    while len(candidates):
        best = int(scores[candidates].argmax())
        index = int(candidates[best])
        dets[len(kept), :4], dets[len(kept), 4] = boxes[index], scores[index]
        kept.append(index)
        candidates = torch.cat([candidates[:best], candidates[best + 1 :]])
        iou = _overlaps(boxes[index], boxes[candidates], offset)
        if method == 2:
            factor = torch.exp(-(iou**2) / sigma)
        else:
            factor = torch.where(iou >= iou_threshold, 1 - iou if method == 1 else torch.zeros_like(iou), 1.0)
        scores[candidates] *= factor
        candidates = candidates[scores[candidates] >= min_score]
    return torch.tensor(kept, dtype=torch.long)


def _average_only(pool_mode: int) -> None:
    if pool_mode != 1:
        raise UserError(f"RoIAlign with pool_mode='max' needs mmcv's compiled operators: {INSTALL_COMMAND}")


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign (He et al. 2017) with average pooling.

    Args:
        input: (B, C, H, W) features; rois: (N, 5) of (batch index, x1, y1, x2, y2).
        output: (N, C, aligned_height, aligned_width), receives the result.
        argmax_y, argmax_x: unused (max pooling only).
        spatial_scale: feature cells per pixel; sampling_ratio: samples per bin and axis, 0 = adaptive.
        pool_mode: 1 (average); aligned: shift by half a cell.
    """
    _average_only(pool_mode)
    features = _full_precision(input)
    output.copy_(
        torch.ops.torchvision.roi_align(
            features,
            rois.to(features.dtype),
            float(spatial_scale),
            aligned_height,
            aligned_width,
            sampling_ratio,
            aligned,
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of :func:`roi_align_forward`, written into ``grad_input`` (B, C, H, W)."""
    _average_only(pool_mode)
    grad = _full_precision(grad_output)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad,
            rois.to(grad.dtype),
            float(spatial_scale),
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _focal_parts(x: Tensor, target: Tensor, weight: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits in full precision, the mask of positives (N, C) and each element's weight (alpha, class weight)."""
    x = _full_precision(x)
    positive = target[:, None] == torch.arange(x.shape[1], device=x.device)
    factor = torch.where(positive, alpha, 1.0 - alpha).to(x.dtype)
    if weight.numel():
        factor = factor * weight[target][:, None]
    return x, positive, factor


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Sigmoid focal loss (Lin et al. 2017) without reduction.

    Args:
        input: (N, C) logits; target: (N,) int64 class in [0, C), C (or any other) = background.
        weight: (C,) class weights, or empty.
        output: (N, C), receives ``-alpha_t (1 - p_t)^gamma log(p_t)``.
        gamma, alpha: focusing exponent and weight of the positive elements.
    """
    x, positive, factor = _focal_parts(input, target, weight, alpha)
    signed = torch.where(positive, x, -x)
    output.copy_(-factor * torch.sigmoid(-signed) ** gamma * F.logsigmoid(signed))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Gradient of the summed :func:`sigmoid_focal_loss_forward`, written into ``grad_input`` (N, C)."""
    x, positive, factor = _focal_parts(input, target, weight, alpha)
    signed = torch.where(positive, x, -x)
    p_t, q_t = torch.sigmoid(signed), torch.sigmoid(-signed)
    slope = factor * q_t**gamma * (gamma * p_t * F.logsigmoid(signed) - q_t)
    grad_input.copy_(torch.where(positive, slope, -slope))


def get_compiler_version() -> str:
    """Return the text that mmengine's environment report prints for mmcv's compiler."""
    return "none (torchvision's operators)"


get_compiling_cuda_version = get_compiler_version

_OPERATORS = (
    nms,
    softnms,
    bbox_overlaps,
    roi_align_forward,
    roi_align_backward,
    sigmoid_focal_loss_forward,
    sigmoid_focal_loss_backward,
)


def _missing(name: str):
    def operator(*args, **kwargs):
        raise UserError(
            f"the operator '{name}' needs mmcv's compiled operators, which are not installed. "
            f"Build them (about half an hour): {INSTALL_COMMAND}"
        )

    operator.__name__ = name
    return operator


def fill(module) -> None:
    """Add the operators to ``module``; any other name resolves to an operator that raises when called."""
    import torchvision  # noqa: F401  (registers torch.ops.torchvision)

    for function in _OPERATORS:
        setattr(module, function.__name__, function)
    module.get_compiler_version = get_compiler_version
    module.get_compiling_cuda_version = get_compiling_cuda_version

    def __getattr__(name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return _missing(name)

    module.__getattr__ = __getattr__


def warn_once() -> None:
    """Log once, on the first rank only, that mmcv has no compiled operators."""
    global _warned
    if not _warned and is_first_process():
        logging.getLogger("detdiffusion").warning(
            "mmcv has no compiled operators here; torchvision's are used instead (same results)."
        )
    _warned = True
