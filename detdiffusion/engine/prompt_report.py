"""What did not fit into the prompts, in the log: the overflow policy drops or splits, but never silently."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..registry import HOOKS


@HOOKS.register_module()
class PromptReportHook(Hook):
    """Logs the layout tokenizer's counts: when the first object is dropped, and after every epoch.

    Counts are those of this process; models without a ``layout_tokenizer`` have none.
    """

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._tokenizer = getattr(model, "layout_tokenizer", None)
        self._said = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        if self._said or self._tokenizer is None or not self._tokenizer.dropped:
            return
        self._said = True
        runner.logger.warning(
            "A prompt has no room for all objects of its image: the smallest are left out of it (all counts follow "
            "after the epoch). layout_tokenizer.overflow='chunk' keeps them all."
        )

    def after_train_epoch(self, runner: Runner) -> None:
        if self._tokenizer is None:
            return
        prompts = sum(self._tokenizer.windows.values())
        split = prompts - self._tokenizer.windows[1]
        dropped = self._tokenizer.dropped
        text = f"Prompts so far: {prompts}, {split} of them in several windows; {dropped.total()} objects left out"
        most = ", ".join(f"{name} {count}" for name, count in dropped.most_common(5))
        runner.logger.info(text + (f" (most often {most})." if most else "."))
