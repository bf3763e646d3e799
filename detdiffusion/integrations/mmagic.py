"""Support for mmagic 1.2.0 with current dependencies, and the editor in mmagic's scope.

A config with ``default_scope = 'mmagic'`` and
``custom_imports = dict(imports=['detdiffusion.integrations.mmagic'])`` can build and train ``type='DetDiffusion'`` with
mmagic's ``DataPreprocessor``, its wrapped diffusers models and its ``VisualizationHook``. No other module of the
package imports mmagic, because that takes seconds.

The following is patched while mmagic is imported, and restored afterwards except for the two module names:

1. mmagic's assertion ``mmcv < 2.2``;
2. ``np.bool8`` (removed in numpy 2);
3. ``diffusers.models.unet_2d_condition`` (moved to ``diffusers.models.unets``);
4. ``diffusers.pipelines.paint_by_example`` (removed in newer diffusers): a placeholder for the only name that is used;
5. ``mmcv._ext`` (see :mod:`detdiffusion.utils.compat`).

mmagic's loop over all pipelines of diffusers, which registers them as models, is skipped: importing the pipelines takes
most of the time and fails if an optional package of any of them is missing. All of this can be removed if mmagic is
maintained again.
"""

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ..models.editors.detdiffusion.components import HUB, build_component
from ..models.editors.detdiffusion.editor import DetDiffusion as _DetDiffusion
from ..utils import compat
from ..utils.errors import UserError

_WRAPPED = ("vae", "unet")
_OUR_PARTS = ("noise_loss", "mask_head", "perception_loss", "grounding_loss")
_OUR_GROUPS = dict(perception=("mask_head", "loss"), conditioning=("grounding_loss",))


@contextmanager
def _patched(owner: object, name: str, value: object) -> Iterator[None]:
    """Context manager that sets an attribute and restores its old value."""
    missing = object()
    before = owner.__dict__.get(name, missing)
    setattr(owner, name, value)
    try:
        yield
    finally:
        delattr(owner, name) if before is missing else setattr(owner, name, before)


def _import_mmagic() -> None:
    """Import mmagic's modules with the patches applied."""
    if importlib.util.find_spec("mmagic") is None:
        raise UserError("mmagic is not installed: pip install --no-deps -r requirements/mmagic.txt")
    compat.setup()
    import diffusers
    import mmcv
    import numpy as np

    if importlib.util.find_spec("diffusers.models.unet_2d_condition") is None:
        unets = importlib.import_module("diffusers.models.unets.unet_2d_condition")
        sys.modules.setdefault("diffusers.models.unet_2d_condition", unets)
    name = "diffusers.pipelines.paint_by_example"
    if importlib.util.find_spec(name) is None:
        stand_in = types.ModuleType(name)
        stand_in.PaintByExampleImageEncoder = type("PaintByExampleImageEncoder", (), {})
        sys.modules.setdefault(name, stand_in)
    pipelines = diffusers.pipelines
    lazy = type("Pipelines", (type(pipelines),), {"__dir__": lambda self: []})
    original_class = pipelines.__class__
    pipelines.__class__ = lazy
    try:
        with _patched(mmcv, "__version__", "2.1.0"), _patched(np, "bool8", np.bool_):
            for part in ("models", "structures", "engine", "visualization"):
                importlib.import_module(f"mmagic.{part}")
    finally:
        pipelines.__class__ = original_class


_import_mmagic()

from mmagic.registry import DIFFUSION_SCHEDULERS, MODELS  # noqa: E402  (importable only now)
from mmagic.structures import DataSample  # noqa: E402


def _build(spec, role: str):
    """Build a component by mmagic's registry if it knows the type, else as in our own scope."""
    if isinstance(spec, str):  # mmagic's configs give a tokenizer as a folder or a hub id
        source = spec if Path(spec).exists() else f"{HUB}{spec}"
        return build_component(
            dict(type="CLIPTokenizer", from_pretrained=source, subfolder="tokenizer"), role
        )
    if not isinstance(spec, dict):
        return spec
    if role.endswith("scheduler"):
        if role == "test_scheduler" and "from_pretrained" not in spec:
            return spec  # follows the training schedule
        return DIFFUSION_SCHEDULERS.build(spec).scheduler
    if role in (*_WRAPPED, "text_encoder") and MODELS.get(str(spec.get("type"))) is not None:
        part = MODELS.build(spec)
        if role == "text_encoder":  # ClipWrapper freezes it; we train it and add embeddings for our tokens
            return part.model.requires_grad_(True).train()
        return part
    return build_component(spec, role)


def _in_our_scope(spec):
    """Prefix a type such as ``NoiseLoss`` by our scope, because the default scope is mmagic's."""
    if isinstance(spec, dict) and isinstance(spec.get("type"), str) and "." not in spec["type"]:
        return dict(spec, type=f"detdiffusion.{spec['type']}")
    return spec


@MODELS.register_module(name="DetDiffusion")
class DetDiffusion(_DetDiffusion):
    """The editor in mmagic's scope.

    Its VAE and UNet are mmagic's wrappers around diffusers models. Its checkpoints use the same tensor names as in our
    own scope, so checkpoints can be exchanged between the scopes. ``val_step`` and ``test_step`` return mmagic's
    ``DataSample`` with ``fake_img`` (3, H, W), BGR in [0, 255], which its visualizer shows.

    Args:
        vae, unet, scheduler, test_scheduler, text_encoder, tokenizer: mmagic's config forms
            (``from_pretrained``, ``from_config``, keywords; ``ClipWrapper``; a folder for the tokenizer) or
            ours.
        data_preprocessor: mmagic's ``DataPreprocessor`` keeps samples as a list here, since layouts differ
            in length, unless the config says ``stack_data_sample=True``.
        **kwargs: as for :class:`detdiffusion.models.DetDiffusion`.
    """

    def __init__(
        self,
        vae,
        text_encoder,
        tokenizer,
        unet,
        scheduler,
        test_scheduler=None,
        data_preprocessor: dict | None = None,
        **kwargs,
    ) -> None:
        parts = dict(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            test_scheduler=test_scheduler,
        )
        if isinstance(data_preprocessor, dict):
            data_preprocessor = dict(data_preprocessor)
            if str(data_preprocessor.get("type")).removeprefix("mmagic.") == "DataPreprocessor":
                data_preprocessor["type"] = "mmagic.DataPreprocessor"
                data_preprocessor.setdefault("stack_data_sample", False)
                data_preprocessor.setdefault("data_keys", None)
        ours = dict(kwargs, noise_loss=kwargs.get("noise_loss") or dict(type="NoiseLoss"))
        ours = {name: _in_our_scope(value) if name in _OUR_PARTS else value for name, value in ours.items()}
        for group, names in _OUR_GROUPS.items():
            if ours.get(group):
                ours[group] = {k: _in_our_scope(v) if k in names else v for k, v in ours[group].items()}
        super().__init__(
            **{role: _build(spec, role) for role, spec in parts.items()},
            data_preprocessor=data_preprocessor,
            **ours,
        )
        self._register_state_dict_hook(_plain_names)
        self.register_load_state_dict_pre_hook(_wrapped_names)

    def forward(self, inputs: Tensor, data_samples=None, mode: str = "tensor"):
        """As the parent's; a stacked ``DataSample`` is split into its samples."""
        if isinstance(data_samples, DataSample):
            data_samples = data_samples.split(allow_nonseq_value=True)
        return super().forward(inputs, data_samples, mode)

    @torch.no_grad()
    def val_step(self, data: dict) -> Sequence[DataSample]:
        """Generate images of a batch's layouts and return them as mmagic's data samples."""
        results = []
        for sample in super().val_step(data):
            image = (sample.pred_img.flip(0) * 255).round().cpu()
            results.append(DataSample(fake_img=image, metainfo=sample.metainfo))
        return results

    test_step = val_step


def _plain_names(module, state_dict, prefix, local_metadata) -> None:
    """State dict hook: save ``unet.model.x`` of a wrapper as ``unet.x``."""
    for role in _WRAPPED:
        inner = f"{prefix}{role}.model."
        if hasattr(getattr(module, role), "_module_cls"):
            for key in [key for key in state_dict if key.startswith(inner)]:
                state_dict[f"{prefix}{role}." + key.removeprefix(inner)] = state_dict.pop(key)


def _wrapped_names(module, state_dict, prefix, *args) -> None:
    """State dict pre-hook: the reverse of :func:`_plain_names`, for loading."""
    for role in _WRAPPED:
        outer = f"{prefix}{role}."
        if hasattr(getattr(module, role), "_module_cls"):
            for key in [key for key in state_dict if key.startswith(outer)]:
                state_dict[f"{outer}model." + key.removeprefix(outer)] = state_dict.pop(key)
