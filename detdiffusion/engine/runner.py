"""mmengine's Runner with safe and strict checkpoint loading and atomic saving."""

import os
from pathlib import Path

from mmengine.dist import master_only
from mmengine.runner import Runner

from ..registry import RUNNERS
from ..utils.errors import UserError
from .checkpoint import use_safe_loader


@RUNNERS.register_module()
class SafeRunner(Runner):
    """The runner of ``tools/train.py`` and ``tools/test.py``.

    Beyond mmengine's: a checkpoint never runs code (:mod:`detdiffusion.engine.checkpoint`); one that does not
    fit the model is an error with the names of the tensors, unless the config says ``strict_load = False``
    (fine-tuning on other classes); and a checkpoint appears under its name only when it is whole.
    """

    def __init__(self, *args, **kwargs) -> None:
        use_safe_loader()
        super().__init__(*args, **kwargs)

    def load_checkpoint(self, filename, map_location="cpu", strict=None, revise_keys=((r"^module\.", ""),)):
        """As mmengine's, with ``strict`` defaulting to the config's ``strict_load`` (True).

        Raises:
            UserError: see :func:`detdiffusion.engine.checkpoint.load_checkpoint`, or the tensors of the file
                are not the model's.
        """
        strict = self.cfg.get("strict_load", True) if strict is None else strict
        try:
            checkpoint = super().load_checkpoint(filename, map_location, strict, list(revise_keys))
        except RuntimeError as error:
            if "state_dict" not in str(error):
                raise
            raise UserError(
                f"checkpoint {filename} does not fit the model: {error} "
                "Use the config it was trained with, or `--cfg-options strict_load=False` to load what fits."
            ) from error
        # mmengine's resume() would execute this text as a Python config.
        if isinstance(checkpoint.get("meta"), dict):
            checkpoint["meta"].pop("config", None)
        return checkpoint

    def resume(self, filename, *args, **kwargs) -> None:
        """As mmengine's, with a clear error where the file holds weights only."""
        try:
            super().resume(filename, *args, **kwargs)
        except KeyError as error:
            if error.args and error.args[0] in ("meta", "message_hub", "epoch", "iter"):
                raise UserError(
                    f"checkpoint {filename} cannot be resumed: it has no {error}. "
                    "Start from its weights with `--cfg-options load_from=PATH` instead of --resume."
                ) from error
            raise

    @master_only
    def save_checkpoint(self, out_dir, filename, *args, **kwargs) -> None:
        """As mmengine's, through a temporary name where ``out_dir`` is a local folder."""
        folder = Path(out_dir)
        if not folder.is_dir():
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        temporary = f".{filename}.part"
        super().save_checkpoint(out_dir, temporary, *args, **kwargs)
        os.replace(folder / temporary, folder / filename)
