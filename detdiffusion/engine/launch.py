"""Building a runner from a config, on one process or many, with or without a GPU."""

from typing import Literal

from mmengine.config import Config, ConfigDict
from mmengine.registry import RUNNERS as ROOT_RUNNERS
from mmengine.runner import Runner

from ..models.editors.detdiffusion.components import check_sources
from ..utils import compat
from ..utils.config import config_errors
from ..utils.errors import UserError
from ..utils.image_rules import use_rules_of_config
from ..utils.torchrun import Torchrun
from .checkpoint import use_safe_loader
from .epoch_length_hook import EpochLengthHook
from .finite_hook import FiniteHook
from .run_checks import check_settings
from .runner import SafeRunner, TestRunner
from .start_report import StartReportHook
from .timeless_checkpoint_hook import TimelessCheckpointHook


def prepare_ranks(cfg: Config, launcher: str | None) -> None:
    """Set ``cfg.launcher`` and, on ranks without a GPU, start a gloo process group.

    mmengine calls ``torch.cuda.set_device`` and gives the model wrapper a device id. CPU ranks therefore start their
    process group here and get a wrapper without device ids.

    Args:
        cfg: the config, changed in place.
        launcher: 'slurm', 'mpi', or see :meth:`~detdiffusion.utils.torchrun.Torchrun.to_join`.

    Raises:
        UserError: if 'pytorch' is used without torchrun, or torchrun's environment is invalid.
    """
    import torch

    if launcher not in ("slurm", "mpi"):
        launcher = "pytorch" if Torchrun.to_join(launcher) else "none"
    cfg.launcher = launcher
    if launcher == "none":
        return
    if torch.cuda.is_available() or launcher != "pytorch":
        return
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    if cfg.get("strategy", {}).get("type") == "FSDPStrategy":
        cfg.strategy.setdefault("model_wrapper", dict(type="MMFullyShardedDataParallel"))
        cfg.strategy.model_wrapper.update(device_id="cpu", sync_module_states=False)  # not supported on CPU
        return
    if cfg.get("model_wrapper_cfg") is None:
        cfg.model_wrapper_cfg = dict(
            type="MMDistributedDataParallel",
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get("find_unused_parameters", False),
        )


def build_runner(cfg: Config, task: Literal["train", "test"] = "train") -> Runner:
    """Build the config's ``runner_type``, by default :class:`SafeRunner`.

    Args:
        cfg: the config.
        task: determines which data is checked before the model is built.

    Raises:
        UserError: if the config lacks a required key, has an unregistered type, or an invalid argument; or if the run
            cannot succeed with its data or settings, see :mod:`.data_checks` and :mod:`.run_checks`.
    """
    compat.setup()
    use_safe_loader()
    use_rules_of_config(cfg, cfg.filename)
    if task == "train":
        _log_mixing(cfg)
    _check_annotations(cfg)
    check_settings(cfg)
    for key in ("model", "work_dir"):
        if key not in cfg:
            raise UserError(f"config {cfg.filename} has no `{key}`; it is a base to inherit from, not a run.")
    if cfg.get("default_scope") == "detdiffusion" and isinstance(cfg.model, dict):
        check_sources(cfg.model)  # checked early, because reading large data sets takes a minute
    with config_errors(cfg.filename):
        if "runner_type" in cfg:
            runner = ROOT_RUNNERS.build(cfg)
        else:
            runner = (SafeRunner if task == "train" else TestRunner).from_cfg(cfg)
    # not added to the config, because the saved config may be read without this package
    for hook in (
        StartReportHook,
        *([FiniteHook, EpochLengthHook, TimelessCheckpointHook] if task == "train" else ()),
    ):
        if not any(type(registered) is hook for registered in runner.hooks):
            runner.register_hook(hook())
    return runner


def _log_mixing(cfg: Config) -> None:
    """Add the hook that logs the share of synthetic images, if the training data has any."""
    hooks = cfg.get("custom_hooks") or []
    kinds = [str(hook.get("type")).rpartition(".")[2] for hook in hooks if isinstance(hook, dict)]
    if _mixes((cfg.get("train_dataloader") or {}).get("dataset")) and "MixingRatioHook" not in kinds:
        cfg.custom_hooks = [*hooks, dict(type="detdiffusion.MixingRatioHook")]


def _check_annotations(cfg: Config) -> None:
    """Replace mmdet's ``CocoMetric`` by ours, so that it uses the same validated objects as our data sets."""
    names = ("mmdet.CocoMetric", *(["CocoMetric"] if cfg.get("default_scope") == "mmdet" else []))
    metrics = [m for key in ("val_evaluator", "test_evaluator") for m in _metrics(cfg.get(key))]
    for metric in metrics:
        if metric.get("type") in names:
            from ..evaluation import coco_metric  # noqa: F401  registers it; imports mmdet

            metric["type"] = "detdiffusion.CheckedCocoMetric"


def _metrics(evaluator) -> list[dict]:
    if isinstance(evaluator, dict):
        return _metrics(evaluator["metrics"]) if "metrics" in evaluator else [evaluator]
    if isinstance(evaluator, (list, tuple)):
        return [metric for part in evaluator for metric in _metrics(part)]
    return []


def _mixes(dataset) -> bool:
    if not isinstance(dataset, dict):
        return False
    if str(dataset.get("type")).rpartition(".")[2] == "SyntheticAugmentedCocoDataset":
        return True
    return any(map(_mixes, [dataset.get("dataset"), *dataset.get("datasets", [])]))


def enable_amp(cfg: Config) -> None:
    """Switch the optimizer wrapper to mixed precision.

    Raises:
        UserError: if there is no GPU, or the wrapper is of another type.
    """
    import torch

    wrapper: ConfigDict = cfg.get("optim_wrapper") or ConfigDict()
    kind = wrapper.get("type", "OptimWrapper")
    if kind == "AmpOptimWrapper":
        return
    if kind != "OptimWrapper":
        raise UserError(f"`amp` works with optim_wrapper type 'OptimWrapper', not with '{kind}'.")
    if not torch.cuda.is_available():
        raise UserError("`amp` needs a GPU, and torch sees none here; leave it out.")
    bfloat16 = torch.cuda.is_bf16_supported()
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.setdefault("dtype", "bfloat16" if bfloat16 else "float16")
    if cfg.optim_wrapper.dtype == "float16":
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")


def enable_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate with the total batch size.

    Raises:
        UserError: if the config does not give the batch size that its learning rate is for.
    """
    if "base_batch_size" not in cfg.get("auto_scale_lr", {}):
        raise UserError(
            f"`auto_scale_lr`: config {cfg.filename} has no `auto_scale_lr = dict(base_batch_size=...)`, "
            "the batch size that its learning rate is for."
        )
    cfg.auto_scale_lr.enable = True
