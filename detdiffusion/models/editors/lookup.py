"""Lookup of a generator's class in its config, before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from detdiffusion.utils.config_kind import kind_of
from detdiffusion.utils.errors import UserError

from .detdiffusion.components import check_sources

if TYPE_CHECKING:
    from mmengine.config import Config


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
