"""A hook that weighs synthetic images in a detector's loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..registry import HOOKS
from ..utils.errors import UserError
from ..utils.numbers import is_number
from .mixing_hook import synthetic_sets

ROI_HEADS = ("StandardRoIHead", "CascadeRoIHead", "DoubleHeadRoIHead", "DynamicRoIHead")
"""RoI heads of mmdet whose stages exchange boxes only, without gradients."""


@HOOKS.register_module()
class SyntheticWeightHook(Hook):
    """Multiplies what synthetic images contribute to a detector's loss by a weight.

    A loss of mmdet is a sum over the samples of a batch, divided by a number that the batch has in common, such as the
    number of its positives. The weight multiplies a synthetic image's terms of the sum and leaves that number as it is.
    This is done where the gradient enters the network: the gradient of the loss with respect to the heads' outputs for
    a synthetic image is multiplied by the weight. As each term depends on the outputs for its own image alone, this is
    exact:

    * with weight 1 the training is the same, bit by bit;
    * with weight 0 the gradient is that of the real images' terms alone. Synthetic images still count in the common
      number and in the statistics of batch normalisation;
    * the logged losses are those without the weight.

    An image that a pipeline makes of several (mosaic) counts as the one whose id it has.

    Args:
        weight: at least 0; below 1 trusts synthetic images less than real ones.

    Raises:
        UserError: the weight is out of range; in :meth:`before_train`, if the training data has no synthetic images, or
            the detector is of a kind that cannot be weighed: dense heads (ATSS, FCOS, RetinaNet, YOLOv4, ...) can, and
            so can two-stage detectors with one of :data:`ROI_HEADS`; transformers cannot.
    """

    def __init__(self, weight: float) -> None:
        if not is_number(weight) or weight < 0:
            raise UserError(f"SyntheticWeightHook: weight must be a number of at least 0, got {weight!r}")
        self.weight = weight
        self._ids: set[int] = set()
        self._weights: Tensor | None = None
        self._handles: list[RemovableHandle] = []

    def before_train(self, runner: Runner) -> None:
        sets = synthetic_sets(runner, "SyntheticWeightHook")
        self._ids = set().union(*(dataset.synthetic_ids() for dataset in sets))
        self._handles = weigh_samples(runner.model, lambda: self._weights)
        runner.logger.info(f"synthetic images have weight {self.weight:g} in the loss")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        samples = (data_batch or {}).get("data_samples") or []
        self._weights = torch.tensor([self.weight if s.img_id in self._ids else 1.0 for s in samples])

    def after_train(self, runner: Runner) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def weigh_samples(model: nn.Module, weights: Callable[[], Tensor]) -> list[RemovableHandle]:
    """Multiply the gradient that a detector's loss has with respect to its heads' outputs by a weight of each sample.

    Args:
        model: an mmdet detector, or a wrapper of one.
        weights: returns the (B,) float weights of the current batch; called in every forward pass.

    Returns:
        Handles that remove the weights.

    Raises:
        UserError: the detector is of a kind that cannot be weighed, see :class:`SyntheticWeightHook`.
    """
    while is_model_wrapper(model):
        model = model.module
    dense = [getattr(model, name) for name in ("bbox_head", "rpn_head") if hasattr(model, name)]
    extractors, roi = _roi_parts(getattr(model, "roi_head", None))
    _check_kind(model, dense, roi)
    image_of_roi: dict[str, Tensor] = {}

    def note_rois(module: nn.Module, args: tuple) -> None:
        image_of_roi["index"] = args[1][:, 0].long()  # RoIs are (index of the image, x1, y1, x2, y2)

    def weigh_images(module: nn.Module, args: tuple, outputs: object) -> None:
        _weigh(module, outputs, weights())

    def weigh_rois(module: nn.Module, args: tuple, outputs: object) -> None:
        index = image_of_roi["index"]
        if torch.is_grad_enabled():
            _weigh(module, outputs, weights().to(index.device)[index])

    handles = [extractor.register_forward_pre_hook(note_rois) for extractor in extractors]
    handles += [head.register_forward_hook(weigh_images) for head in dense]
    return handles + [head.register_forward_hook(weigh_rois) for head in roi]


def _weigh(module: nn.Module, outputs: object, weights: Tensor) -> None:
    for output in _tensors(outputs):
        if not output.requires_grad:
            continue
        if len(output) != len(weights):
            raise UserError(
                f"SyntheticWeightHook: {type(module).__name__} returns a tensor of shape {tuple(output.shape)}, which "
                f"does not begin with its {len(weights)} samples; leave the hook out"
            )
        rows = weights.to(output).view(-1, *[1] * (output.dim() - 1))
        output.register_hook(lambda gradient, rows=rows: gradient * rows)


def _tensors(outputs: object) -> Iterator[Tensor]:
    """Yield the tensors in nested lists and tuples."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, (list, tuple)):
        for output in outputs:
            yield from _tensors(output)


def _roi_parts(roi_head: nn.Module | None) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the RoI extractors and the heads behind them, those of all stages."""
    parts = []
    for names in (("bbox_roi_extractor", "mask_roi_extractor"), ("bbox_head", "mask_head")):
        found = [getattr(roi_head, name, None) for name in names]
        stages = [list(one) if isinstance(one, nn.ModuleList) else [one] for one in found if one is not None]
        parts.append([module for stage in stages for module in stage])
    return parts[0], parts[1]


def _check_kind(model: nn.Module, dense: list[nn.Module], roi: list[nn.Module]) -> None:
    from mmdet.models.dense_heads import DETRHead
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

    roi_head = getattr(model, "roi_head", None)
    odd = [roi_head] if roi_head is not None and type(roi_head).__name__ not in ROI_HEADS else []
    if getattr(roi_head, "share_roi_extractor", False):  # masks are then drawn from a part of the boxes' RoIs
        odd.append(roi_head)
    for head in dense:
        nested = any(isinstance(part, BaseDenseHead) for part in head.modules() if part is not head)
        if not isinstance(head, BaseDenseHead) or isinstance(head, DETRHead) or nested:
            odd.append(head)
    for module in model.modules():  # anything else with a loss of its own
        has_loss = any(name.startswith("loss_") for name, _ in module.named_children())
        if has_loss and not any(module is head for head in (*dense, *roi)):
            odd.append(module)
    if odd or not dense:
        names = ", ".join(sorted({type(module).__name__ for module in odd})) or "it has no dense head"
        raise UserError(
            f"SyntheticWeightHook: the loss of {type(model).__name__} cannot be weighed by sample ({names}); leave the "
            "hook out, and set the share of synthetic images instead"
        )
