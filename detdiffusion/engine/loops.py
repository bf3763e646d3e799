"""An epoch-based training loop that can resume in the middle of an epoch."""

from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop

from ..registry import LOOPS


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop``, except that resuming within an epoch continues with its remaining batches.

    mmengine would restart such an epoch. If the sampler or the batch sampler can ``skip``
    (:class:`~detdiffusion.datasets.samplers.SeededSampler`, ``SameSizeBatchSampler``), skipped samples are not loaded.
    """

    def run_epoch(self) -> None:
        """Run one epoch, or the rest of it."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        length = len(self.dataloader)
        done = self._iter - self._epoch * length
        if not 0 <= done <= length:
            print_log(
                f"{self._iter} iterations are not {self._epoch} epochs of {length}: the data or the batch size "
                "was changed since the checkpoint; the epoch starts again",
                logger="current",
                level=30,  # logging.WARNING
            )
            done = 0
        first = done if self._skip(done) else 0
        if done < length:
            for idx, data_batch in enumerate(self.dataloader, start=first):
                if idx >= done:
                    self.run_iter(idx, data_batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _skip(self, batches: int) -> bool:
        """Let the next epoch begin behind these batches; return whether the samplers can."""
        loader = self.dataloader
        if hasattr(loader.batch_sampler, "skip"):
            loader.batch_sampler.skip(batches)
        elif hasattr(loader.sampler, "skip"):
            loader.sampler.skip(batches * loader.batch_size)
        else:
            return False
        return True
