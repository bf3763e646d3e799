"""A hook that logs the share of synthetic images in the training batches."""

from __future__ import annotations

from collections import deque

from mmengine.dist import all_reduce, get_dist_info
from mmengine.hooks import Hook
from mmengine.registry import Registry
from mmengine.runner import Runner

from ..registry import HOOKS, MODELS, TASK_UTILS
from ..utils.errors import UserError
from .run_checks import parts_of


@HOOKS.register_module()
class MixingRatioHook(Hook):
    """Counts the real and synthetic images that a detector is trained on and logs their ratio.

    Before training, it warns if the data has ignored regions that the detector would treat as background.

    Two scalars are logged with the loss: ``synthetic_share`` (this rank's share in the current epoch so far) and
    ``recent_synthetic_share`` (the same over the iterations that the logged loss is the mean of). The counts of all
    ranks are logged at the end of every epoch. :func:`.launch.build_runner` adds the hook if the training data contains
    a ``SyntheticAugmentedCocoDataset``.

    Attributes:
        real, synthetic: number of images in this epoch so far, on this rank.
    """

    def __init__(self) -> None:
        self.real = self.synthetic = 0
        self._ids: set[int] = set()
        self._recent: deque[tuple[int, int]] = deque()  # synthetic and all images of the latest batches

    def before_train(self, runner: Runner) -> None:
        """Find the data sets with synthetic images; warn if their ignored regions would not be ignored.

        Raises:
            UserError: if the training data has no synthetic images.
        """
        found = synthetic_sets(runner, "MixingRatioHook")
        self._ids = set().union(*(dataset.synthetic_ids() for dataset in found))
        self._recent = deque(maxlen=runner.log_processor.window_size)
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
        self._recent.append((found, len(samples)))
        recent, shown = map(sum, zip(*self._recent))
        runner.message_hub.update_scalar("train/recent_synthetic_share", recent / max(1, shown))

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


def synthetic_sets(runner: Runner, hook: str) -> list:
    """Return the data sets with synthetic images in the training data.

    Raises:
        UserError: there are none; the message names the ``hook`` that wants them.
    """
    found = [part for part in parts_of(runner.train_dataloader.dataset) if hasattr(part, "synthetic_ids")]
    if not found:
        raise UserError(f"{hook}: train_dataloader has no SyntheticAugmentedCocoDataset; leave the hook out")
    return found


def _why_not_ignored(model) -> str:
    """Return why a detector treats ignored regions as background; '' if it does not."""
    parts: dict[str, Registry] = {}
    for module in model.modules():
        assigners = _assigners(module)
        off = (one for one in assigners if getattr(one, "ignore_iof_thr", -1) <= 0)
        parts |= {type(one).__name__: TASK_UTILS for one in off}
        ignores = bool(assigners) or getattr(module, "ignores_regions", False)
        if hasattr(module, "loss_by_feat") and not ignores:
            parts[type(module).__name__] = MODELS
    names = sorted(parts)
    if others := [name for name in names if parts[name].get(name) is None]:
        return f"{' and '.join(others)} cannot ignore them"
    return f"name it detdiffusion.{' and detdiffusion.'.join(names)} in the config" if names else ""


def _assigners(module) -> list:
    """Return the assigners of a dense head or of a RoI head, one or a list of them."""
    values = [value for name, value in vars(module).items() if name.endswith("assigner")]
    lists = [value if isinstance(value, (list, tuple)) else [value] for value in values]
    return [one for ones in lists for one in ones if one is not None]
