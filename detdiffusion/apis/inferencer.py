"""Inference with a trained generator, from its config and checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from detdiffusion.models.editors.detdiffusion.components import check_sources
from detdiffusion.structures import Layout
from detdiffusion.utils.config import config_errors, load_config
from detdiffusion.utils.config_kind import kind_of
from detdiffusion.utils.devices import choose_device
from detdiffusion.utils.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

TRAINING_ONLY = ("mask_head.", "perception_loss.")
"""Prefixes of the names of weights that are not used in inference."""


def editor_class(cfg: Config) -> type:
    """Return the model class of a generator's config, without building the model.

    Raises:
        UserError: the config has no model, its model cannot generate images of layouts, or a folder of weights does
            not exist.
    """
    from mmengine.registry import init_default_scope

    import detdiffusion.models  # noqa: F401  registers the editor
    from detdiffusion.registry import MODELS

    if "model" not in cfg:
        raise UserError(f"{cfg.filename}: not a generator's config, it is {kind_of(cfg)}: it lacks 'model'")
    init_default_scope("detdiffusion")
    if not isinstance(cfg.model, Mapping):
        raise UserError(f"{cfg.filename}: model must be a dict with a type, got {cfg.model!r}")
    kind = cfg.model.get("type")
    cls = kind if isinstance(kind, type) else MODELS.get(str(kind))
    if kind_of(cfg).startswith("a detector") and not hasattr(cls, "infer"):
        raise UserError(
            f"config {cfg.filename} is {kind_of(cfg)}; generating images needs a generator's config, like "
            "configs/detdiffusion_miniscenes.py"
        )
    if cls is None:
        raise UserError(
            f"{cfg.filename}: no model {kind!r} is registered; correct model.type, or import it with custom_imports"
        )
    check_sources(cfg.model)
    lacking = [name for name in ("infer", "needs_attributes") if not hasattr(cls, name)]
    if lacking:
        raise UserError(
            f"{cfg.filename}: its model {cls.__name__} cannot generate images of layouts: it lacks "
            f"{' and '.join(lacking)} (see the interface in detdiffusion.models.editors.interface)"
        )
    return cls


class DetDiffusionInferencer:
    """Builds the editor of a config and generates images of layouts with it.

    Args:
        config: path (or ``package::file.py``) of a generator's config, or the parsed config.
        checkpoint: checkpoint saved by ``tools/train.py`` (its ``state_dict`` holds the EMA weights if the config
            uses EMA), or None to use the weights that the config names by ``from_pretrained``.
        device: torch device; None uses CUDA if it is available.
        cfg_options: ``key=value`` overrides of the config, only if ``config`` is a path.

    Attributes:
        config: the parsed config.
        model: the editor, in evaluation mode.

    Raises:
        UserError: config or checkpoint is missing or damaged, the checkpoint does not match the config, or
            ``cfg_options`` are given for a parsed config.
    """

    def __init__(
        self,
        config: str | Path | Config,
        checkpoint: str | Path | None,
        device: str | torch.device | None = None,
        cfg_options: Sequence[str] | None = None,
    ) -> None:
        from detdiffusion.registry import MODELS
        from detdiffusion.utils.checkpoint import load_checkpoint, load_strictly

        self.device = choose_device(device)  # checked before the model is loaded
        parsed = not isinstance(config, (str, Path))
        if parsed and cfg_options:
            raise UserError("cfg_options require a config's path; merge them into the parsed config yourself")
        self.config = config if parsed else load_config(str(config), cfg_options)
        config = self.config.filename
        editor_class(self.config)
        stored = None if checkpoint is None else load_checkpoint(checkpoint)
        with config_errors(config):
            self.model = MODELS.build(self.config.model)
        if stored is not None:
            # the mask head is not used in inference
            load_strictly(self.model, stored, f"{config}: checkpoint {checkpoint}", ignore=TRAINING_ONLY)
        self.model.to(self.device).eval()

    def __call__(
        self,
        layouts: Sequence[Layout],
        generators: Sequence[torch.Generator] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.5,
        **options,
    ) -> dict:
        """Generate images of layouts; for the arguments see the editor's ``infer``.

        Args:
            **options: ``schedule``, ``guidance_interval`` and ``guidance_rescale``, if the model has them.

        Returns:
            ``samples`` (B, 3, H, W) float32 in [0, 1]; ``kept``, the indices of the objects in each prompt; and
            ``prompts``.

        Raises:
            UserError: images have NaN or infinite pixels, or the model does not have an option.
        """
        from detdiffusion.models.editors.interface import draw

        return draw(
            self.model,
            layouts,
            height,
            width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            generators=generators,
            **options,
        )
