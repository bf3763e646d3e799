"""mmengine's Runner with safe and strict checkpoint loading and atomic saving."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, is_main_process
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from mmengine.runner.checkpoint import _load_checkpoint
from torch import nn

from ..registry import RUNNERS
from ..utils.checkpoint import load_strictly
from ..utils.config import config_errors
from ..utils.errors import NotFiniteError, UserError
from .checkpoint import latest_checkpoint, use_safe_loader
from .data_checks import ChecksData
from .finite_hook import last_good
from .random_state import random_state, seed_all, set_random_state
from .run_checks import batch_size, sampler_of


@RUNNERS.register_module()
class SafeRunner(ChecksData, Runner):
    """The runner of ``tools/train.py``.

    It extends mmengine's runner as follows:

    * Data and schedule are checked before the model is built (:mod:`.data_checks`).
    * Loading a checkpoint never runs code (:mod:`detdiffusion.utils.checkpoint`).
    * A checkpoint that does not fit the model is an error that lists the tensors, unless the config has
      ``strict_load = False`` (for fine-tuning on other classes).
    * Checkpoints are saved atomically.
    * Resuming works after a run was killed, and is exact: checkpoints contain the random states of all ranks and the
      sampler's seed.
    """

    def __init__(self, *args, **kwargs) -> None:
        use_safe_loader()
        self._resumed_state: dict | None = None
        super().__init__(*args, **kwargs)

    def build_model(self, model: nn.Module | dict) -> nn.Module:
        """Check the data, then build the model as mmengine does."""
        self.check_data()
        return super().build_model(model)

    def train(self):
        """Train as mmengine does.

        Raises:
            UserError: if the training diverged; gives the step and the last good checkpoint.
        """
        try:
            return super().train()
        except NotFiniteError as error:
            raise UserError(
                f"training stopped at step {self.iter + 1}: {error}. {last_good(self.work_dir)}"
            ) from error

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """Build as mmengine does, with clear errors for mistakes in the config."""
        with config_errors(self.cfg.filename):
            return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Build as mmengine does, with clear errors for mistakes in the config."""
        with config_errors(self.cfg.filename):
            return super().build_param_scheduler(scheduler)

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build as mmengine does, with clear errors for mistakes in the config."""
        with config_errors(self.cfg.filename):
            return super().build_val_loop(loop)

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build as mmengine does, with clear errors for mistakes in the config."""
        with config_errors(self.cfg.filename):
            return super().build_test_loop(loop)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build as mmengine does, but give the data loader its own random generator instead of the global one."""
        import torch

        with config_errors(self.cfg.filename):
            loop = super().build_train_loop(loop)
        loop.dataloader.generator = torch.Generator().manual_seed(self.seed + self.rank)
        return loop

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = "cpu",
        strict: bool | None = None,
        revise_keys: Sequence[tuple[str, str]] = ((r"^module\.", ""),),
    ) -> dict:
        """Load as mmengine does, with ``strict`` defaulting to the config's ``strict_load`` (True).

        Raises:
            UserError: see :func:`detdiffusion.utils.checkpoint.load_checkpoint`; also if the tensors of the file do not
                match the model's.
        """
        strict = self.cfg.get("strict_load", True) if strict is None else strict
        if not strict:
            checkpoint = super().load_checkpoint(filename, map_location, False, list(revise_keys))
        else:
            checkpoint = self._load_strictly(filename, map_location, revise_keys)
        # mmengine's resume() would execute this text as a Python config.
        if isinstance(checkpoint.get("meta"), dict):
            checkpoint["meta"].pop("config", None)
            self._loaded_state = checkpoint["meta"].pop("random_state", None)
        return checkpoint

    def _load_strictly(self, filename, map_location, revise_keys) -> dict:
        """Repeat mmengine's steps, because its strict loading raises only on the first rank."""
        checkpoint = _load_checkpoint(filename, map_location=map_location)
        try:
            self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        except RuntimeError:  # EMAHook loads the averaged weights, with torch's message if they do not fit
            self._load_weights(checkpoint, filename, revise_keys)
            raise
        self._load_weights(checkpoint, filename, revise_keys)
        self._has_loaded = True
        self.logger.info(f"Load checkpoint from {filename}")
        return checkpoint

    def _load_weights(self, checkpoint: dict, filename, revise_keys) -> None:
        state = checkpoint.get("state_dict", checkpoint)
        for pattern, replacement in revise_keys:
            if any(re.search(pattern, str(name)) for name in state):
                state = {re.sub(pattern, replacement, name): value for name, value in state.items()}
        model = self.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        hint = "Use the config it was trained with, or `--cfg-options strict_load=False` to load what fits."
        stored = {"state_dict": state, "meta": checkpoint.get("meta")}
        load_strictly(model, stored, f"checkpoint {filename}", hint=hint)

    def load_or_resume(self) -> None:
        """Load or resume as mmengine does, except that resuming uses the newest existing checkpoint, see
        :func:`detdiffusion.engine.checkpoint.latest_checkpoint`, and starts from the beginning if there is none.
        """
        if is_main_process():
            for stray in Path(self.work_dir).glob(".*.pth.part"):  # from a run that was killed while saving
                stray.unlink(missing_ok=True)
        self._load_or_resume()
        if self._resumed_state is not None:
            self._continue_random(self._resumed_state)

    def _load_or_resume(self) -> None:
        if self._has_loaded or not self._resume or self._load_from is not None:
            super().load_or_resume()
            return
        found = latest_checkpoint(self.work_dir)
        if found is None:
            self.logger.info(f"Nothing to resume in {self.work_dir}: training starts from the beginning.")
            return
        self.logger.info(f"Resuming from {found}.")
        self.resume(str(found))
        self._has_loaded = True

    def resume(self, filename: str, *args, **kwargs) -> None:
        """Resume as mmengine does, with a clear error if the file contains only weights."""
        self._loaded_state = None
        try:
            super().resume(filename, *args, **kwargs)
            self._resumed_state = self._loaded_state or {}
        except KeyError as error:
            if error.args and error.args[0] in ("meta", "message_hub", "epoch", "iter"):
                raise UserError(
                    f"checkpoint {filename} cannot be resumed: it has no {error}. "
                    "Start from its weights with `--cfg-options load_from=PATH` instead of --resume."
                ) from error
            raise

    def _continue_random(self, saved: dict) -> None:
        """Restore the random state from :meth:`save_checkpoint`; no random numbers are used before the first step."""
        sampler = sampler_of(self.train_dataloader)
        if saved.get("sampler_seed") is not None and hasattr(sampler, "seed"):
            sampler.seed = saved["sampler_seed"]
        ranks = saved.get("ranks", [])
        if len(ranks) == self.world_size:
            set_random_state(ranks[self.rank])
            return
        if ranks:
            reason = f"is from {len(ranks)} ranks, but this run has {self.world_size}"
        else:
            reason = "contains no random state"
        self.logger.warning(
            f"The checkpoint {reason}: training continues, but with other noise than in an uninterrupted run."
        )
        seed_all(self.seed + self.rank + 1000003 * (self.iter + 1))

    def scale_lr(self, optim_wrapper, auto_scale_lr: dict | None = None) -> None:
        """As mmengine does, also for a data loader whose batch sampler has the batch size."""
        loader = self._train_dataloader
        if hasattr(loader, "batch_sampler"):
            self._train_dataloader = dict(batch_size=batch_size(loader))
        try:
            super().scale_lr(optim_wrapper, auto_scale_lr)
        finally:
            self._train_dataloader = loader

    def save_checkpoint(self, out_dir: str, filename: str, *args, **kwargs) -> None:
        """Save as mmengine does, including the random states, and atomically if ``out_dir`` is a local folder.

        Must be called on all ranks, as mmengine's hooks do.
        """
        ranks = all_gather_object(random_state())
        if not is_main_process():
            return
        state = dict(ranks=ranks, sampler_seed=getattr(sampler_of(self.train_dataloader), "seed", None))
        kwargs["meta"] = dict(kwargs.get("meta") or {}, random_state=state)
        folder = Path(out_dir)
        if not folder.is_dir():
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        temporary = f".{filename}.part"
        super().save_checkpoint(out_dir, temporary, *args, **kwargs)
        _to_disk(folder / temporary)
        os.replace(folder / temporary, folder / filename)
        _to_disk(folder)


class TestRunner(SafeRunner):
    """The runner of ``tools/test.py``, which checks only the test data."""

    loaders = ("test",)


def _to_disk(path: Path) -> None:
    """Flush a file's or folder's content to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
