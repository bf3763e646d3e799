"""The realised share of synthetic images in the batches of a training."""

from __future__ import annotations

from mmengine.dist import all_reduce, get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..registry import HOOKS
from ..utils.errors import UserError


@HOOKS.register_module()
class MixingRatioHook(Hook):
    """Counts the real and synthetic images that a detector was shown and logs their ratio.

    Before the first it says so where the data has ignored regions and the detector takes them for background.

    The scalar ``synthetic_share`` (of this epoch so far, this rank's) goes with the loss into the log; a line with
    the counts of all ranks ends every epoch. :func:`.launch.build_runner` adds the hook wherever a
    ``SyntheticAugmentedCocoDataset`` is trained on.

    Attributes:
        real, synthetic: images of this epoch so far, on this rank.
    """

    def __init__(self) -> None:
        self.real = self.synthetic = 0
        self._ids: set[int] = set()

    def before_train(self, runner: Runner) -> None:
        """Finds the data set; warns where its ignored regions would not be ignored.

        Raises:
            UserError: the training data has no synthetic part.
        """
        found = _with_synthetic(runner.train_dataloader.dataset)
        if not found:
            raise UserError(
                "MixingRatioHook: train_dataloader has no SyntheticAugmentedCocoDataset; leave the hook out"
            )
        self._ids = set().union(*(dataset.synthetic_ids() for dataset in found))
        regions = sum(dataset.num_ignored for dataset in found)
        if regions and (reason := _why_not_ignored(runner.model)):
            runner.logger.warning(
                f"{regions} ignored regions (crowds, objects that were not prompted) count as background: {reason}"
            )

    def before_train_epoch(self, runner: Runner) -> None:
        self.real = self.synthetic = 0

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        samples = (data_batch or {}).get("data_samples") or []
        found = sum(sample.img_id in self._ids for sample in samples)
        self.synthetic += found
        self.real += len(samples) - found
        share = self.synthetic / max(1, self.real + self.synthetic)
        runner.message_hub.update_scalar("train/synthetic_share", share)

    def after_train_epoch(self, runner: Runner) -> None:
        import torch

        counts = torch.tensor([self.real, self.synthetic])
        if get_dist_info()[1] > 1:
            counts = counts.to(next(runner.model.parameters()).device)
            all_reduce(counts)
        real, synthetic = counts.tolist()
        runner.logger.info(
            f"images shown: {real} real, {synthetic} synthetic "
            f"({synthetic / max(1, real + synthetic):.1%} synthetic)"
        )


def _why_not_ignored(model) -> str:
    """Why a detector's targets take ignored regions for background; '' where none of them does."""
    assigners = []
    for module in model.modules():
        for name in ("assigner", "bbox_assigner"):  # of dense heads and mmdet's RoI heads
            found = getattr(module, name, None)
            assigners += found if isinstance(found, (list, tuple)) else [found] if found is not None else []
    if not assigners:
        return "this detector has no assigner that could leave them out"
    off = {type(one).__name__ for one in assigners if getattr(one, "ignore_iof_thr", -1) <= 0}
    return f"set ignore_iof_thr=0.5 in the config of {' and '.join(sorted(off))}" if off else ""


def _with_synthetic(dataset) -> list:
    """The data sets with synthetic images below any wrappers."""
    if hasattr(dataset, "synthetic_ids"):
        return [dataset]
    inner = getattr(dataset, "datasets", None) or [d for d in (getattr(dataset, "dataset", None),) if d]
    return [found for one in inner for found in _with_synthetic(one)]
