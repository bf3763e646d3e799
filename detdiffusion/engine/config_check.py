"""What a config does with a labelled set: what its filter keeps, what fits into its prompts, and what the run needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from detdiffusion.utils.config_datasets import unwrapped
from detdiffusion.utils.config_heads import class_counts
from detdiffusion.utils.config_kind import kind_of
from detdiffusion.utils.errors import UserError, first_line, some
from detdiffusion.utils.findings import Finding

from .config_needs import needs_of

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
        needs: what a training needs (passes over the images, time, memory), as text by name.
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
    cfg: Any,
    ann_files: Sequence[str | Path],
    img_dir: str | Path,
    classes: Sequence[str],
    images: int,
    work_dir: str | Path | None = None,
) -> ConfigCheck:
    """Check a config against the training part of a labelled set.

    Args:
        cfg: a loaded config.
        ann_files: COCO jsons of the training images.
        img_dir: a folder; its images are not read.
        classes: classes of the set.
        images: number of training images.
        work_dir: work dir of an earlier training of the config, whose logs tell the seconds of a step; default: that
            of ``tools/train.py``, if there are logs in it.

    Raises:
        UserError: ``work_dir`` has no logs.
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
    checked.needs, findings = needs_of(cfg, images, work_dir)
    checked.findings += findings
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
    named = (unwrapped(dataset).get("metainfo") or {}).get("classes")
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
