"""A hook that logs how many objects did not fit into the prompts and how many prompts were split."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ..registry import HOOKS


@HOOKS.register_module()
class PromptReportHook(Hook):
    """Logs the layout tokenizer's counts: a warning when the first object is dropped, and a line after every epoch.

    The counts are those of this process. Models without a ``layout_tokenizer`` are ignored.
    """

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self._tokenizer = getattr(model, "layout_tokenizer", None)
        self._warned = False

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        if self._warned or self._tokenizer is None or not self._tokenizer.dropped:
            return
        self._warned = True
        runner.logger.warning(
            "The objects of an image do not fit into its prompt: layout_tokenizer.overflow="
            f"{self._tokenizer.overflow!r} leaves some of them out (all counts follow after the epoch); 'chunk' keeps "
            "them all."
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
