"""What a config does with a labelled set: what its filter keeps, what fits into its prompts, and what the run needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from detdiffusion.utils.config_heads import class_counts
from detdiffusion.utils.config_kind import kind_of
from detdiffusion.utils.errors import UserError, first_line, some
from detdiffusion.utils.findings import Finding

_STATES = {"AdamW": 2, "Adam": 2, "AdamW8bit": 0.5, "Lion": 1, "Adagrad": 1, "RMSprop": 1, "Adafactor": 0.01}
"""Numbers that an optimizer keeps per weight."""
_PACKAGES = dict(detector=("mmdet", "mmcv"), generator=("diffusers", "transformers", "safetensors"))


@dataclass
class ConfigCheck:
    """The results for one config.

    Attributes:
        findings: what is wrong or notable.
        kept: rule of the filter, or ``kept``, -> number of objects.
        tokens: class -> number of tokens of one object of it in a prompt.
        room: tokens that a prompt has for objects; None if the config has no prompts.
        left_out: class -> number of objects that do not fit into their prompts.
        needs: what a training needs (memory, passes over the images), as text by name.
    """

    findings: list[Finding] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    room: int | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    needs: dict[str, str] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """Return everything but the findings as json data."""
        return {name: value for name, value in asdict(self).items() if name != "findings"}

    def tables(self) -> dict[str, list[list]]:
        """Return the figures as tables, title -> rows, the first of which are the headings."""
        found = {}
        if self.kept:
            found["filter of the config"] = [["rule", "objects"], *map(list, self.kept.items())]
        if self.tokens:
            head = ["class", "tokens", f"objects in a prompt of {self.room} tokens", "left out"]
            rows = [
                [n, count, self.room // count, self.left_out.get(n, 0)] for n, count in self.tokens.items()
            ]
            found["prompts"] = [head, *rows]
        if self.needs:
            found["needs of the config"] = [["training needs", ""], *map(list, self.needs.items())]
        return found


def check_config(
    cfg: Any, ann_files: Sequence[str | Path], img_dir: str | Path, classes: Sequence[str], images: int
) -> ConfigCheck:
    """Check a config against the training part of a labelled set.

    Args:
        cfg: a loaded config.
        ann_files: COCO jsons of the training images.
        img_dir: a folder; its images are not read.
        classes: classes of the set.
        images: number of training images.
    """
    checked = ConfigCheck()
    kind = "generator" if "generator" in kind_of(cfg) else "detector"
    absent = [name for name in _PACKAGES[kind] if find_spec(name) is None]
    if absent:
        remedy = f"install {' '.join(absent)}; README says how the environment is made"
        checked.findings.append(Finding(str(cfg.filename), "", f"needs {', '.join(absent)}", remedy=remedy))
        return checked
    dataset = (cfg.get("train_dataloader") or {}).get("dataset") or {}
    if kind == "generator":
        layouts = _filter(cfg, dataset, ann_files, img_dir, checked)
        images = images if layouts is None else len(layouts)
        _prompts(cfg, layouts, classes, checked)
    else:
        _heads(cfg, dataset, classes, checked)
    _passes(cfg, images, checked)
    _memory(cfg, checked)
    return checked


def _filter(cfg, dataset: Mapping, ann_files: Sequence, img_dir, checked: ConfigCheck):
    """Apply the config's filter; return the layouts, or None if none is left."""
    from detdiffusion.datasets.filter_share import layouts_taken
    from detdiffusion.datasets.layout_coco import LayoutCocoDataset

    options = {key: dataset[key] for key in ("filter_cfg", "classes") if dataset.get(key) is not None}
    try:
        with redirect_stdout(StringIO()):
            layouts = LayoutCocoDataset(
                [str(path) for path in ann_files], str(img_dir), cache_index=False, min_kept=0, **options
            )
    except UserError as error:
        checked.findings.append(Finding(str(cfg.filename), "train_dataloader.dataset", str(error)))
        return None
    taken = layouts_taken(layouts.report)
    checked.kept = {**taken, "kept": layouts.report["objects kept"]}
    least = dataset.get("min_kept", 0.05)
    share = checked.kept["kept"] / max(1, sum(checked.kept.values()))
    if layouts.layouts.warning or taken:
        checked.findings.append(
            Finding(
                str(cfg.filename),
                "filter_cfg",
                layouts.layouts.warning
                or f"the filter keeps {checked.kept['kept']} of {sum(checked.kept.values())} objects ({share:.1%})",
                remedy="lower min_area_ratio or widen min_objects and max_objects in "
                "train_dataloader.dataset.filter_cfg to keep more",
                severity="error" if share < least else "warning" if layouts.layouts.warning else "note",
            )
        )
    return layouts


def _prompts(cfg, layouts, classes: Sequence[str], checked: ConfigCheck) -> None:
    """Count the tokens of every class, and the objects that do not fit into their prompts."""
    from detdiffusion.models.editors.detdiffusion.components import build_component, check_sources
    from detdiffusion.models.editors.detdiffusion.layout_config import layout_of_config
    from detdiffusion.models.editors.detdiffusion.layout_tokenizer import LayoutTokenizer
    from detdiffusion.structures import Layout

    model = cfg.get("model") or {}
    try:
        check_sources(model)
    except UserError as error:
        checked.findings.append(Finding(str(cfg.filename), "model", "weights are missing", remedy=str(error)))
    if "layout_tokenizer" not in model:
        return
    try:
        arguments, _ = layout_of_config(model)
        tokenizer = LayoutTokenizer(build_component(dict(model["tokenizer"]), "tokenizer"), **arguments)
    except UserError as error:
        checked.findings.append(
            Finding(
                str(cfg.filename),
                "tokenizer",
                "prompts cannot be checked",
                remedy=first_line(error),
                severity="warning",
            )
        )
        return
    checked.room = tokenizer.max_length - len(tokenizer.words(tokenizer.prefix)) - 2
    word = tokenizer.attribute_words[0]
    for name in classes:
        try:
            spans = tokenizer.encode([Layout([[0, 0, 1, 1]], [name], [word])]).spans[0]
        except UserError as error:
            checked.findings.append(
                Finding(str(cfg.filename), name, "class that cannot be prompted", remedy=first_line(error))
            )
            continue
        checked.tokens[name] = spans[0][1] - spans[0][0] if spans else checked.room + 1
    tokenizer.dropped.clear()
    if layouts is None or len(checked.tokens) < len(classes):
        return
    for index in range(len(layouts)):
        layout = layouts.layouts[index]
        layout.attributes = [word] * len(layout)
        try:
            tokenizer.encode([layout])
        except UserError as error:
            checked.findings.append(
                Finding(str(cfg.filename), "layout_tokenizer", "a prompt is too long", remedy=str(error))
            )
            return
    checked.left_out = dict(tokenizer.dropped)
    if checked.left_out:
        total = layouts.report["objects kept"]
        checked.findings.append(
            Finding(
                str(cfg.filename),
                some((f"{name} {count}" for name, count in tokenizer.dropped.most_common(5)), 5),
                f"object that does not fit into its prompt of {tokenizer.max_length} tokens, of {total}",
                remedy="layout_tokenizer.overflow='chunk' keeps all of them; the smallest are left out otherwise",
                severity="warning",
                count=sum(checked.left_out.values()),
            )
        )


def _heads(cfg, dataset: Mapping, classes: Sequence[str], checked: ConfigCheck) -> None:
    """Compare the config's classes with those of the set."""
    inner = dataset
    while isinstance(inner.get("dataset"), Mapping):
        inner = inner["dataset"]
    named = (inner.get("metainfo") or {}).get("classes")
    expected = list(named) if named else list(classes)
    lacking = [name for name in expected if name not in classes]
    surplus = [name for name in classes if name not in expected]
    if lacking:
        remedy = f"rename or remove them in metainfo.classes; the set has {some(classes, 10)}"
        checked.findings.append(
            Finding(
                str(cfg.filename),
                some(map(repr, lacking)),
                "class that the set lacks",
                remedy=remedy,
                count=len(lacking),
            )
        )
    if surplus:
        checked.findings.append(
            Finding(
                str(cfg.filename),
                some(map(repr, surplus)),
                "class of the set that the config does not name",
                remedy="add it to metainfo.classes, else its objects are left out",
                severity="warning",
                count=len(surplus),
            )
        )
    for path, count in class_counts(cfg.get("model") or {}, cfg.get("default_scope") or "mmengine").items():
        if count != len(expected):
            problem = f"num_classes is {count}, but there are {len(expected)} classes"
            checked.findings.append(
                Finding(str(cfg.filename), path, problem, remedy=f"set {path}={len(expected)}")
            )


def _passes(cfg, images: int, checked: ConfigCheck) -> None:
    """Compute how often a run sees every image."""
    loop, loader = cfg.get("train_cfg") or {}, cfg.get("train_dataloader") or {}
    batch = loader.get("batch_size")
    if not batch or not images:
        return
    if loop.get("max_epochs"):
        epochs = loop["max_epochs"]
        steps = epochs * math.ceil(images / batch)
        checked.needs["length"] = (
            f"{epochs} passes over {images} images, {steps} steps of {batch} on one device"
        )
    elif loop.get("max_iters"):
        passes = loop["max_iters"] * batch / images
        checked.needs["length"] = (
            f"{loop['max_iters']} steps of {batch}, {passes:.3g} passes over {images} images on one device"
        )
        if passes < 1:
            checked.findings.append(
                Finding(
                    str(cfg.filename),
                    "train_cfg",
                    f"the run sees only {passes:.0%} of the {images} images",
                    remedy=f"raise max_iters to {math.ceil(images / batch)} or more",
                    severity="warning",
                )
            )
    checked.needs["time"] = (
        "not estimated: it depends on the machine; training logs the time left from step 50 on"
    )


def _memory(cfg, checked: ConfigCheck) -> None:
    """Estimate the memory of weights, gradients and optimizer states from a model without storage."""
    import torch

    try:
        model = _without_storage(cfg)
    except Exception as error:  # an estimate; whatever prevents it is told
        checked.needs["memory"] = f"not estimated: {first_line(error)}"
        return
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    optimizer = (cfg.get("optim_wrapper") or {}).get("optimizer") or {}
    name = str(optimizer.get("type", "SGD"))
    states = _STATES.get(name, 1 if optimizer.get("momentum") else 0)
    if name not in (*_STATES, "SGD"):
        checked.needs["optimizer"] = f"{name}: its states are not known and not counted"
    hooks = [str(hook.get("type")) for hook in cfg.get("custom_hooks") or [] if isinstance(hook, Mapping)]
    copies = sum("EMA" in hook for hook in hooks)
    bytes_ = 4 * (trained * (2 + states + copies) + frozen * (1 + copies))
    free = ""
    if torch.cuda.is_available():
        have = torch.cuda.get_device_properties(0).total_memory
        free = f"; this GPU has {have / 1e9:.1f} GB"
        if bytes_ > have:
            checked.findings.append(
                Finding(
                    str(cfg.filename),
                    "memory",
                    f"needs {bytes_ / 1e9:.1f} GB without activations, the GPU has {have / 1e9:.1f} GB",
                    remedy="model.lora.r=16 trains low-rank updates only; see docs/guides/large_data.md",
                )
            )
    checked.needs["memory"] = (
        f"{bytes_ / 1e9:.2f} GB (computed: weights, gradients and {name} of {trained / 1e6:.2f} M trained and "
        f"{frozen / 1e6:.2f} M frozen parameters in float32; activations come on top){free}"
    )


def _without_storage(cfg):
    """Build the model of a config on the meta device, from the configurations of its parts alone."""
    import torch
    from mmengine.registry import DefaultScope

    from detdiffusion.models.editors.detdiffusion.components import (
        build_component,
        build_sampling_scheduler,
        without_weights,
    )
    from detdiffusion.registry import MODELS
    from detdiffusion.utils import compat

    compat.setup()
    spec = dict(cfg.model)
    for role in ("vae", "text_encoder", "unet"):
        if role in spec:
            spec[role] = without_weights(spec[role], role)
    if "scheduler" in spec:  # its tables are computed, so it needs a device
        spec["scheduler"] = build_component(spec["scheduler"], "scheduler")
        spec["test_scheduler"] = build_sampling_scheduler(
            spec.get("test_scheduler"), spec["scheduler"], "test_scheduler"
        )
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope", "detdiffusion")), torch.device("meta"):
        return MODELS.build(spec)
