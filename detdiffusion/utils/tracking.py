"""Trackers of experiments, which a training can report to in addition to its own logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UserError
from .option_groups import OptionGroup, documented, option

if TYPE_CHECKING:
    from mmengine.config import Config

TRACKERS = dict(tensorboard="TensorboardVisBackend", wandb="WandbVisBackend", mlflow="MLflowVisBackend")
"""mmengine's visualizer backends by the name of the package that they need."""
_PROJECT = "detdiffusion"


@documented
@dataclass(frozen=True, kw_only=True)
class TrackOptions(OptionGroup):
    """Where a training reports its losses, metrics and images to.

    Raises:
        UserError: the package of a tracker is not installed.
    """

    track: Sequence[str] | None = option(
        None,
        "report losses, metrics and images to this tracker too; may be repeated",
        choices=tuple(TRACKERS),
        repeat=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.track or ():
            if find_spec(name) is None:
                raise UserError(f"`track` {name}: the package is not installed; run: pip install {name}")

    def apply(self, cfg: Config) -> None:
        """Add the trackers' backends to the config's visualizer, each unless the config has it already.

        Runs of Weights & Biases and MLflow are called as the work dir; for another name or project, put the backend
        into the config.

        Args:
            cfg: a training's config with its ``work_dir``, changed in place.
        """
        if not self.track:
            return
        if not cfg.get("visualizer"):
            cfg.visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])
        backends = cfg.visualizer.get("vis_backends") or []
        backends = [backends] if isinstance(backends, Mapping) else list(backends)
        kinds = [str(getattr(b["type"], "__name__", b["type"])).rpartition(".")[2] for b in backends]
        run = Path(cfg.work_dir).name
        arguments = dict(
            wandb=dict(init_kwargs=dict(project=_PROJECT, name=run)),
            mlflow=dict(exp_name=_PROJECT, run_name=run),
        )
        for name in dict.fromkeys(self.track):
            if TRACKERS[name] not in kinds:
                backends.append(dict(type=TRACKERS[name], **arguments.get(name, {})))
        cfg.visualizer.vis_backends = backends
