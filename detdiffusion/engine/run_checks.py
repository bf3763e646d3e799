"""What a run's settings and its data say before the model is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..utils.config_heads import class_counts
from ..utils.errors import UserError, some
from ..utils.findings import Finding

_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_WARM_UP_SHARE = 0.1  # of a run that is shorter than its warm-up


def check_settings(cfg: Mapping) -> None:
    """Numbers that no run can work with.

    Raises:
        UserError: a batch size, length or interval below 1, a negative number of workers, a learning rate that is no
            number.
    """
    least: list[tuple[str, str, int]] = []
    for name in _LOADERS:
        least += [(name, "batch_size", 1), (name, "num_workers", 0)]
    least += [("train_cfg", key, 1) for key in ("max_iters", "max_epochs", "val_interval")]
    for part, key, low in least:
        value = (cfg.get(part) or {}).get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise UserError(
                f"config {cfg.filename}: {part}.{key} is {value!r}; it is a whole number from {low} on."
            )
    wrapper = cfg.get("optim_wrapper") or {}
    counts = wrapper.get("accumulative_counts", 1)
    if isinstance(counts, bool) or not isinstance(counts, int) or counts < 1:
        raise UserError(
            f"config {cfg.filename}: optim_wrapper.accumulative_counts is {counts!r}; it is a whole number from 1 on."
        )
    rate = (wrapper.get("optimizer") or {}).get("lr")
    if rate is not None and not (isinstance(rate, (int, float)) and math.isfinite(rate) and rate >= 0):
        raise UserError(
            f"config {cfg.filename}: optim_wrapper.optimizer.lr is {rate!r}; it is a number from 0 on."
        )


def check_steps(place: str, loader: Any, epochs: bool = False) -> None:
    """
    Args:
        place: the loader's name in the config.
        loader: a DataLoader.
        epochs: the loop counts epochs.

    Raises:
        UserError: an epoch has no batch, or no end.
    """
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    if any("Infinite" in kind.__name__ or "MultiSource" in kind.__name__ for kind in type(sampler).__mro__):
        if epochs:
            raise UserError(
                f"{place}: its sampler {type(sampler).__name__} has no end, so an epoch would have none; take "
                "DefaultSampler, or a loop that counts iterations (train_cfg.type='IterBasedTrainLoop')"
            )
        return
    if len(loader) == 0:
        size = getattr(loader, "batch_size", None)
        raise UserError(
            f"{place}: an epoch has 0 steps: {len(loader.dataset)} images are fewer than one batch of {size}"
            f"{' (drop_last=True)' if loader.drop_last else ''}; lower {place}.batch_size or set "
            f"{place}.drop_last=False"
        )


def check_classes(cfg: Mapping, place: str, dataset: Any) -> list[Finding]:
    """``num_classes`` of the model's heads against the classes of a data set and of those inside of it."""
    model = cfg.get("model")
    counts = class_counts(model, cfg.get("default_scope") or "mmengine") if isinstance(model, Mapping) else {}
    found = []
    for path, count in counts.items():
        for inner in parts_of(dataset):
            classes = (getattr(inner, "metainfo", None) or {}).get("classes")
            if not isinstance(classes, (list, tuple)) or len(classes) == count:
                continue
            found.append(
                Finding(
                    str(cfg.filename),
                    path,
                    f"num_classes is {count}, but the data of {place} has {len(classes)} classes ({some(classes, 5)})",
                    remedy=f"set {path}={len(classes)}, or correct metainfo.classes",
                )
            )
    return list(dict.fromkeys(found))


def parts_of(dataset: Any) -> list:
    """The data sets inside of wrappers: those that hold the images."""
    if hasattr(dataset, "synthetic_ids"):  # its parts are views of itself
        return [dataset]
    inner = getattr(dataset, "datasets", None)
    inner = list(inner) if isinstance(inner, (list, tuple)) else []
    if not inner and getattr(dataset, "dataset", None) is not None:
        inner = [dataset.dataset]
    return [one for part in inner for one in parts_of(part)] or [dataset]


def fit_schedule(cfg: Any, epoch_length: int | None) -> list[Finding]:
    """Warm-ups that the run would not outlive are shortened; what runs on behind the run's end is said.

    Args:
        cfg: the config; its ``param_scheduler`` is changed in place.
        epoch_length: batches of an epoch, None where nobody knows.

    Returns:
        Findings for the log.
    """
    loop, found = cfg.get("train_cfg") or {}, []
    epochs, iters = loop.get("max_epochs"), loop.get("max_iters")
    if iters is None and (epochs is None or epoch_length is None):
        return found
    length = iters if iters is not None else epochs * epoch_length
    name = "max_iters" if iters is not None else "max_epochs"
    said = f"{length} iterations" if epochs is None else f"{epochs} epochs, {length} iterations"
    schedules = cfg.get("param_scheduler") or []
    schedules = [schedules] if isinstance(schedules, Mapping) else schedules
    schedules = [one for one in schedules if isinstance(one, Mapping)]
    spans = [_span(one, epoch_length) for one in schedules]
    warm_ups = [end for _, end, _ in spans if end is not None and _is_warm_up(schedules, spans, end)]
    cut = max((end for end in warm_ups if end >= length), default=None)
    for index, (one, (begin, end, unit)) in enumerate(zip(schedules, spans)):
        where = f"param_scheduler[{index}] ({one.get('type')})"
        if cut is not None and unit and (begin == cut or end == cut):
            new = max(1, round(length * _WARM_UP_SHARE))
            if unit == 1:
                one.update({"begin": new} if begin == cut else {"end": new})
                problem = f"the warm-up of {cut} iterations is as long as the run of {said} or longer"
                found.append(_note(cfg, where, problem, f"shortened to {new}"))
        _, end, unit = _span(one, epoch_length)
        if end is not None and end > length:
            problem = f"it runs to iteration {end}, the training ends after {said}"
            remedy = f"the learning rate does not reach its end; set its end with {name}"
            found.append(_note(cfg, where, problem, remedy, "warning"))
        if (begin or 0) >= length and begin != cut:
            problem = f"it begins at iteration {begin}, the training ends after {said}"
            found.append(
                _note(cfg, where, problem, f"it has no effect; lower its begin, or raise {name}", "warning")
            )
    if cut is not None:
        _leave_out_empty(cfg)
    interval = loop.get("val_interval", 1)
    if cfg.get("val_dataloader") and interval > (iters if iters is not None else epochs):
        problem = f"train_cfg.val_interval is {interval}, the training ends after {said}"
        found.append(_note(cfg, "train_cfg", problem, "nothing is validated", "warning"))
    return found


def _leave_out_empty(cfg: Any) -> None:
    """A run of one iteration has no room for what follows its warm-up."""
    if isinstance(cfg.param_scheduler, list):
        cfg.param_scheduler = [
            one for one in cfg.param_scheduler if one.get("end") is None or one["end"] > one.get("begin", 0)
        ]


def _is_warm_up(schedules: list, spans: list, end: int) -> bool:
    """A schedule in iterations that grows from a small factor."""
    return any(
        str(one.get("type")).rpartition(".")[2] in ("LinearLR", "ConstantLR", "QuadraticWarmupLR")
        and one.get("factor", one.get("start_factor", 0)) < one.get("end_factor", 1.0)
        for one, span in zip(schedules, spans)
        if span[1] == end
    )


def _span(schedule: Mapping, epoch_length: int | None) -> tuple[int | None, int | None, int]:
    """(begin, end, iterations a unit); 0 where an epoch's length is not known."""
    unit = 1 if not schedule.get("by_epoch", True) else epoch_length or 0
    ends = [schedule.get("begin", 0), schedule.get("end")]
    begin, end = (
        value * unit if unit and isinstance(value, int) and value < 10**8 else None for value in ends
    )
    return begin, end, unit


def _note(cfg, item: str, problem: str, remedy: str, severity: str = "note") -> Finding:
    return Finding(str(cfg.filename), item, problem, None, remedy, severity)
