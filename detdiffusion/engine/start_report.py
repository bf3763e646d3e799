"""A hook that logs a summary of a training run (data, model, schedule and machine) before the first step."""

from __future__ import annotations

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from ..registry import HOOKS
from .run_checks import batch_size


@HOOKS.register_module()
class StartReportHook(Hook):
    """Logs a summary of the run before the first step. :func:`.launch.build_runner` adds the hook to every runner.

    The full config, the environment and the order of the hooks are in the log file; the summary gives its folder.
    """

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        rows = {
            "config": runner.cfg.filename or "none",
            "work dir": f"{runner.work_dir} (whole config, environment and hooks in {runner.timestamp}/)",
            "training data": _data(runner.train_dataloader) + _batch(runner),
            **({"validation data": _data(runner.val_loop.dataloader)} if runner.val_loop else {}),
            "model": _model(runner.model),
            "optimizer": _optimizer(runner.optim_wrapper),
            "schedule": _schedule(runner),
            "device": _device(next(runner.model.parameters()).device),
            "seed": str(runner.seed),
            "starts": _start(runner),
        }
        width = max(map(len, rows))
        lines = [f"  {name:<{width}}  {text}" for name, text in rows.items()]
        runner.logger.info("\n".join(["Training:", *lines]))


def _data(loader) -> str:
    dataset = loader.dataset
    return f"{type(dataset).__name__} of {len(dataset)} samples, {_plural(loader.num_workers, 'worker')}"


def _batch(runner) -> str:
    """Describe the samples per optimizer step."""
    loader, ranks = runner.train_dataloader, get_world_size()
    size = batch_size(loader)
    if size is None:
        return ""
    steps = getattr(runner.optim_wrapper, "_accumulative_counts", 1)
    factors = [f" on each of {ranks} ranks"] * (ranks > 1) + [f", {steps} batches a step"] * (steps > 1)
    return f", batches of {size}" + "".join(factors)


def _model(model: torch.nn.Module) -> str:
    inner = getattr(model, "module", model)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    total, trained = sum(size for size, _ in sizes), sum(size for size, grad in sizes if grad)
    return f"{type(inner).__name__}, {total / 1e6:.2f} M parameters, {trained / 1e6:.2f} M of them trained"


def _optimizer(wrapper) -> str:
    parts = dict(wrapper.items()) if hasattr(wrapper, "optim_wrappers") else {"": wrapper}
    texts = []
    for name, part in parts.items():
        rates = sorted({group.get("initial_lr", group["lr"]) for group in part.optimizer.param_groups})
        text = f"{type(part.optimizer).__name__} by {type(part).__name__}, learning rate "
        text += " to ".join(f"{rate:g}" for rate in dict.fromkeys((rates[0], rates[-1])))
        texts.append(f"{name}: {text}" if name else text)
    return "; ".join(texts)


def _schedule(runner) -> str:
    schedulers = runner.param_schedulers or []
    if isinstance(schedulers, dict):
        schedulers = [scheduler for group in schedulers.values() for scheduler in group]
    by_epoch = runner.train_loop.__class__.__name__.startswith("Epoch") or runner.max_epochs > 1
    length = f"{runner.max_epochs} epochs, " if by_epoch else ""
    text = f"{length}{_plural(runner.max_iters, 'iteration')}"
    names = [type(scheduler).__name__ for scheduler in schedulers]
    text += f", {' then '.join(names)}" if names else ", constant learning rate"
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.interval > 0:
            text += f", checkpoint every {_plural(hook.interval, 'epoch' if hook.by_epoch else 'iteration')}"
    return text


def _device(device: torch.device) -> str:
    text = f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
    return f"{text}, {_plural(torch.get_num_threads(), 'thread')} on the CPU"


def _start(runner) -> str:
    source = runner.cfg.get("load_from")
    if runner.iter:
        return f"resumed after iteration {runner.iter}" + (f" of {source}" if source else "")
    return f"from the weights of {source}" if source else "from the beginning"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
