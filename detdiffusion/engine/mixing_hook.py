"""The realised share of synthetic images in the batches of a training."""

from __future__ import annotations

from mmengine.dist import all_reduce, get_dist_info
from mmengine.hooks import Hook

from ..registry import HOOKS
from ..utils.errors import UserError


@HOOKS.register_module()
class MixingRatioHook(Hook):
    """Counts the real and synthetic images that a detector was shown and logs their ratio.

    The scalar ``synthetic_share`` (of this epoch so far, this rank's) goes with the loss into the log; a line with
    the counts of all ranks ends every epoch. :func:`.launch.build_runner` adds the hook wherever a
    ``SyntheticAugmentedCocoDataset`` is trained on.

    Attributes:
        real, synthetic: images of this epoch so far, on this rank.
    """

    def __init__(self) -> None:
        self.real = self.synthetic = 0
        self._ids: set[int] = set()

    def before_train(self, runner) -> None:
        """Finds the data set.

        Raises:
            UserError: the training data has no synthetic part.
        """
        found = _with_synthetic(runner.train_dataloader.dataset)
        if not found:
            raise UserError(
                "MixingRatioHook: train_dataloader has no SyntheticAugmentedCocoDataset; leave the hook out"
            )
        self._ids = set().union(*(dataset.synthetic_ids() for dataset in found))

    def before_train_epoch(self, runner) -> None:
        self.real = self.synthetic = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        samples = (data_batch or {}).get("data_samples") or []
        found = sum(sample.img_id in self._ids for sample in samples)
        self.synthetic += found
        self.real += len(samples) - found
        share = self.synthetic / max(1, self.real + self.synthetic)
        runner.message_hub.update_scalar("train/synthetic_share", share)

    def after_train_epoch(self, runner) -> None:
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


def _with_synthetic(dataset) -> list:
    """The data sets with synthetic images below any wrappers."""
    if hasattr(dataset, "synthetic_ids"):
        return [dataset]
    inner = getattr(dataset, "datasets", None) or [d for d in (getattr(dataset, "dataset", None),) if d]
    return [found for one in inner for found in _with_synthetic(one)]
