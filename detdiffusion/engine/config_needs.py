"""What a training with a config needs, in words: passes over the images, time, memory and disk."""

from __future__ import annotations

import math
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from detdiffusion.utils.config import default_work_dir
from detdiffusion.utils.errors import UserError, first_line
from detdiffusion.utils.findings import Finding
from detdiffusion.utils.training_logs import TrainingLogs

from .config_memory import Memory, memory_of


def needs_of(
    cfg: Any, images: int, work_dir: str | Path | None = None
) -> tuple[dict[str, str], list[Finding]]:
    """Return what a training on one device needs, as text by name, and what is wrong with it.

    Args:
        cfg: a loaded config.
        images: number of training images.
        work_dir: work dir of an earlier training of the config, whose logs tell the seconds of a step; default: that
            of ``tools/train.py``, if it has logs.

    Raises:
        UserError: ``work_dir`` has no logs.
    """
    needs, findings = {}, []
    batch = (cfg.get("train_dataloader") or {}).get("batch_size")
    if batch and images:
        needs["length"], steps, passes = _length(cfg, images, batch)
        needs["time"] = _time(cfg, steps, work_dir)
        if 0 < passes < 1:
            problem = f"the run sees only {passes:.0%} of the {images} images"
            remedy = f"raise max_iters to {math.ceil(images / batch)} or more"
            findings.append(
                Finding(str(cfg.filename), "train_cfg", problem, remedy=remedy, severity="warning")
            )
    try:
        memory = memory_of(cfg, images)
    except Exception as error:  # an estimate; whatever prevents it is told
        needs["memory"] = f"not estimated: {first_line(error)}"
    else:
        needs.update(_memory(memory, images))
        findings += _compared(memory, str(cfg.filename))
    return {name: text for name, text in needs.items() if text}, findings


def _length(cfg, images: int, batch: int) -> tuple[str, int, float]:
    """Return the length of a run in words, its steps, and its passes over the images; 0 if the config does not tell."""
    loop = cfg.get("train_cfg") or {}
    if epochs := loop.get("max_epochs"):
        steps = epochs * math.ceil(images / batch)
        return f"{epochs} passes over {images} images, {steps} steps of {batch} on one device", steps, epochs
    if steps := loop.get("max_iters"):
        passes = steps * batch / images
        return (
            f"{steps} steps of {batch}, {passes:.3g} passes over {images} images on one device",
            steps,
            passes,
        )
    return "", 0, 0.0


def _time(cfg, steps: int, work_dir: str | Path | None) -> str:
    folder = Path(work_dir or cfg.get("work_dir") or default_work_dir(cfg))
    seconds = TrainingLogs.read(folder).seconds_per_step()
    if seconds is not None:
        return (
            f"{timedelta(seconds=round(steps * seconds))} ({seconds:.3g} s a step, as measured in {folder}; validation "
            "comes on top)"
        )
    if work_dir is not None:
        raise UserError(f"`work_dir` {folder}: has no log of a training with times")
    return (
        "not known before a training of this config was timed: run tools/train.py for some steps (--work-dir DIR "
        "--cfg-options train_cfg.max_iters=20), and name DIR by `work_dir`"
    )


def _memory(memory: Memory, images: int) -> dict[str, str]:
    needs = {}
    if not memory.states_known:
        needs["optimizer"] = f"{memory.optimizer}: its states are not known and not counted"
    needs["memory"] = (
        f"{memory.weights / 1e9:.2f} GB (computed: weights, gradients and {memory.optimizer} of "
        f"{memory.trained / 1e6:.2f} M trained and {memory.frozen / 1e6:.2f} M frozen parameters in float32)"
    )
    if memory.activations is None:
        needs["memory of a batch"] = f"not estimated: {memory.reason}"
    else:
        height, width = memory.size
        needs["memory of a batch"] = (
            f"{_size(memory.activations)} (computed: activations of {memory.batch} images of {width} x {height} "
            "px in float32, about half in mixed precision; losses and workspace come on top)"
        )
    if memory.latents:
        needs["disk"] = f"{_size(memory.latents)} for the cached latents of {images} images"
    return needs


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _compared(memory: Memory, where: str) -> list[Finding]:
    """Compare the memory of a training with that of the GPU, or of this machine where there is none."""
    import torch

    gpu = torch.cuda.is_available()
    if gpu:
        have = torch.cuda.get_device_properties(0).total_memory
    else:
        have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = memory.weights + (memory.activations or 0)
    if needed <= have:
        return []
    return [
        Finding(
            where,
            "memory",
            f"needs {needed / 1e9:.1f} GB or more, the {'GPU' if gpu else 'machine'} has {have / 1e9:.1f} GB",
            remedy="lower train_dataloader.batch_size; a generator also takes less with "
            "model.gradient_checkpointing=True or model.lora.r=16, see docs/guides/large_data.md",
            severity="error" if gpu and memory.weights > have else "warning",
        )
    ]
