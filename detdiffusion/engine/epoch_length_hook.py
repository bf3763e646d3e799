"""A hook that warns if a resumed schedule counts steps of epochs that were longer or shorter."""

from __future__ import annotations

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from ..registry import HOOKS
from .run_checks import batch_size


@HOOKS.register_module()
class EpochLengthHook(Hook):
    """Warns if an epoch has another number of steps than before the training was resumed.

    Resuming restores a learning-rate schedule as it was saved. One that counts steps, as those with
    ``convert_to_iter_based`` do, would then end before the last epoch or after it. Checkpoints of epoch-based trainings
    contain the numbers of steps and of images per step for this purpose. :func:`.launch.build_runner` adds the hook to
    every training run.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._saved: dict | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the numbers of steps and images to the checkpoint."""
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            checkpoint["meta"]["epoch_length"] = _epoch_length(runner.train_dataloader)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the numbers of the checkpoint."""
        meta = checkpoint.get("meta")
        self._saved = meta.get("epoch_length") if isinstance(meta, dict) else None

    def before_train(self, runner: Runner) -> None:
        """Compare the numbers, if the training is resumed with a schedule that counts steps."""
        if not (runner.iter and self._saved and isinstance(runner.train_loop, EpochBasedTrainLoop)):
            return
        saved, now = self._saved, _epoch_length(runner.train_dataloader)
        same_batch = saved["images"] == now["images"]
        rounded = same_batch and abs(saved["steps"] - now["steps"]) <= 1  # the ranks' shares are rounded
        if saved["steps"] == now["steps"] or rounded or not _counts_steps(runner):
            return
        runner.logger.warning(
            f"an epoch has {now['steps']} steps, but {saved['steps']} in the checkpoint, whose learning-rate "
            f"schedule counts steps: it will end {'before' if now['steps'] > saved['steps'] else 'after'} the last "
            f"epoch. {_remedy(saved['images'], same_batch)}"
        )


def _epoch_length(loader: DataLoader) -> dict:
    size = batch_size(loader)
    return dict(steps=len(loader), images=size and size * get_world_size())


def _counts_steps(runner: Runner) -> bool:
    """Return whether a schedule that counts steps is not over yet."""
    schedulers = runner.param_schedulers or []
    if isinstance(schedulers, dict):
        schedulers = [scheduler for group in schedulers.values() for scheduler in group]
    return any(not scheduler.by_epoch and scheduler.end > runner.iter for scheduler in schedulers)


def _remedy(images: int | None, same_batch: bool) -> str:
    ranks = get_world_size()
    if same_batch:
        return "The number of training images was changed; start from the weights with load_from instead of --resume."
    if images is None or images % ranks:
        return "Resume with a train_dataloader.batch_size and a number of processes that give a step as many images."
    return f"Set train_dataloader.batch_size={images // ranks} for {images} images a step, as before."
