"""Checks of a run's settings and data before the model is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..datasets.samplers import SameSizeBatchSampler
from ..utils.config_heads import class_counts
from ..utils.errors import UserError, some
from ..utils.findings import Finding

_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
_WARM_UP_SHARE = 0.1  # length of the warm-up as a share of a run that would be shorter than its warm-up


def check_settings(cfg: Mapping) -> None:
    """Check numbers in the config that would make any run fail.

    Raises:
        UserError: if a batch size, length or interval is below 1, a number of workers is negative, or the learning rate
            is not a number.
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
                f"config {cfg.filename}: {part}.{key} is {value!r}; it must be a whole number of at least {low}."
            )
    wrapper = cfg.get("optim_wrapper") or {}
    counts = wrapper.get("accumulative_counts", 1)
    if isinstance(counts, bool) or not isinstance(counts, int) or counts < 1:
        raise UserError(
            f"config {cfg.filename}: optim_wrapper.accumulative_counts is {counts!r}; it must be a whole number of at "
            "least 1."
        )
    rate = (wrapper.get("optimizer") or {}).get("lr")
    if rate is not None and not (isinstance(rate, (int, float)) and math.isfinite(rate) and rate >= 0):
        raise UserError(
            f"config {cfg.filename}: optim_wrapper.optimizer.lr is {rate!r}; it must be a number of at least 0."
        )


def check_steps(place: str, loader: Any, epochs: bool = False) -> None:
    """Check that an epoch of a data loader has at least one batch and an end, and a batch images of all its sources.

    Args:
        place: the loader's name in the config.
        loader: a DataLoader.
        epochs: whether the loop counts epochs.

    Raises:
        UserError: if an epoch has no batch or no end, or a batch nothing of a source.
    """
    sampler = sampler_of(loader)
    if any("Infinite" in kind.__name__ or "MultiSource" in kind.__name__ for kind in type(sampler).__mro__):
        if epochs:
            raise UserError(
                f"{place}: its sampler {type(sampler).__name__} is infinite, so an epoch would never end; use "
                "DefaultSampler, or a loop that counts iterations (train_cfg.type='IterBasedTrainLoop')"
            )
        if 0 in (shares := list(getattr(sampler, "num_per_source", ()))):
            raise UserError(
                f"{place}: a batch of {sum(shares)} images has none of one source: {shares} images by source_ratio; "
                f"raise {place}.batch_size and {place}.sampler.batch_size"
            )
        return
    if len(loader) == 0:
        # a batch sampler of its own drops the last batch by itself
        drops = loader if loader.drop_last else loader.batch_sampler
        key = "drop_last" if drops is loader else "batch_sampler.drop_last"
        raise UserError(
            f"{place}: an epoch has 0 steps: {len(loader.dataset)} images are fewer than one batch of "
            f"{batch_size(loader)}{' (drop_last=True)' if getattr(drops, 'drop_last', False) else ''}; lower "
            f"{place}.batch_size or set {place}.{key}=False"
        )


def check_sizes(place: str, loader: Any) -> None:
    """Check that images of several sizes are not put into one batch, where smaller ones would be padded.

    Raises:
        UserError: they would be.
    """
    sizes = max((len(getattr(part, "training_sizes", ())) for part in parts_of(loader.dataset)), default=0)
    if sizes > 1 and batch_size(loader) != 1 and not isinstance(loader.batch_sampler, SameSizeBatchSampler):
        raise UserError(
            f"{place}: its images have {sizes} sizes (LoadLayoutImage.size), which cannot share a batch; set "
            f"{place}.batch_sampler=dict(type='SameSizeBatchSampler', drop_last=True) and {place}.drop_last=False, "
            "or one size"
        )


def batch_size(loader: Any) -> int | None:
    """Return the number of samples in a batch of this rank; None if the loader's batch sampler does not say it."""
    return loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)


def sampler_of(loader: Any) -> Any:
    """Return the sampler that gives a data loader's indices, also if it has a batch sampler of its own."""
    return getattr(getattr(loader, "batch_sampler", None), "sampler", getattr(loader, "sampler", None))


def check_classes(cfg: Mapping, place: str, dataset: Any) -> list[Finding]:
    """Compare ``num_classes`` of the model's heads with the classes of a data set and of those inside it."""
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
    """Return the data sets inside wrappers, i.e. those that contain the images."""
    if hasattr(dataset, "synthetic_ids"):  # its ``datasets`` are views of itself
        return [dataset]
    inner = getattr(dataset, "datasets", None)
    inner = list(inner) if isinstance(inner, (list, tuple)) else []
    if not inner and getattr(dataset, "dataset", None) is not None:
        inner = [dataset.dataset]
    return [leaf for part in inner for leaf in parts_of(part)] or [dataset]


def fit_schedule(cfg: Any, epoch_length: int | None) -> list[Finding]:
    """Shorten warm-ups that are as long as the run or longer, and report schedules that extend beyond its end.

    Args:
        cfg: the config; its ``param_scheduler`` is changed in place.
        epoch_length: number of batches in an epoch, None if unknown.

    Returns:
        Findings for the log.
    """
    loop, found = cfg.get("train_cfg") or {}, []
    epochs, iters = loop.get("max_epochs"), loop.get("max_iters")
    if iters is None and (epochs is None or epoch_length is None):
        return found
    length = iters if iters is not None else epochs * epoch_length
    name = "max_iters" if iters is not None else "max_epochs"
    run = f"{length} iterations" if epochs is None else f"{epochs} epochs, {length} iterations"
    schedules = cfg.get("param_scheduler") or []
    schedules = [schedules] if isinstance(schedules, Mapping) else schedules
    schedules = [schedule for schedule in schedules if isinstance(schedule, Mapping)]
    spans = [_span(schedule, epoch_length) for schedule in schedules]
    warm_ups = [end for _, end, _ in spans if end is not None and _is_warm_up(schedules, spans, end)]
    cut = max((end for end in warm_ups if end >= length), default=None)
    for index, (schedule, (begin, end, unit)) in enumerate(zip(schedules, spans)):
        where = f"param_scheduler[{index}] ({schedule.get('type')})"
        if cut is not None and unit and (begin == cut or end == cut):
            new = max(1, round(length * _WARM_UP_SHARE))
            if unit == 1:
                schedule.update({"begin": new} if begin == cut else {"end": new})
                problem = f"the warm-up of {cut} iterations is as long as the run of {run} or longer"
                found.append(_note(cfg, where, problem, f"shortened to {new}"))
        _, end, unit = _span(schedule, epoch_length)
        if end is not None and end > length:
            problem = f"it runs to iteration {end}, but training ends after {run}"
            remedy = f"the learning rate does not reach its final value; change its end together with {name}"
            found.append(_note(cfg, where, problem, remedy, "warning"))
        if (begin or 0) >= length and begin != cut:
            problem = f"it begins at iteration {begin}, but training ends after {run}"
            found.append(
                _note(cfg, where, problem, f"it has no effect; lower its begin, or raise {name}", "warning")
            )
    if cut is not None:
        _remove_empty(cfg)
    interval = loop.get("val_interval", 1)
    if cfg.get("val_dataloader") and interval > (iters if iters is not None else epochs):
        problem = f"train_cfg.val_interval is {interval}, but training ends after {run}"
        found.append(_note(cfg, "train_cfg", problem, "nothing is validated", "warning"))
    return found


def _remove_empty(cfg: Any) -> None:
    """Remove schedules that have become empty, such as those after the warm-up in a run of one iteration."""
    if isinstance(cfg.param_scheduler, list):
        cfg.param_scheduler = [
            schedule
            for schedule in cfg.param_scheduler
            if schedule.get("end") is None or schedule["end"] > schedule.get("begin", 0)
        ]


def _is_warm_up(schedules: list, spans: list, end: int) -> bool:
    """Return whether a schedule that ends at ``end`` increases the learning rate from a small factor."""
    return any(
        str(schedule.get("type")).rpartition(".")[2] in ("LinearLR", "ConstantLR", "QuadraticWarmupLR")
        and schedule.get("factor", schedule.get("start_factor", 0)) < schedule.get("end_factor", 1.0)
        for schedule, span in zip(schedules, spans)
        if span[1] == end
    )


def _span(schedule: Mapping, epoch_length: int | None) -> tuple[int | None, int | None, int]:
    """Return ``(begin, end, iterations per unit)``; the last is 0 if the length of an epoch is unknown."""
    unit = 1 if not schedule.get("by_epoch", True) else epoch_length or 0
    ends = [schedule.get("begin", 0), schedule.get("end")]
    begin, end = (
        value * unit if unit and isinstance(value, int) and value < 10**8 else None for value in ends
    )
    return begin, end, unit


def _note(cfg, item: str, problem: str, remedy: str, severity: str = "note") -> Finding:
    return Finding(str(cfg.filename), item, problem, None, remedy, severity)
