"""Checking a labelled set before anything is trained on it: findings, figures and pictures."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detdiffusion.datasets.formats.any_form import read_set, reading_findings
from detdiffusion.datasets.formats.conversion import Conversion
from detdiffusion.datasets.formats.recognise import LabelledSource, recognise
from detdiffusion.datasets.object_table import ObjectTable
from detdiffusion.datasets.set_findings import object_findings
from detdiffusion.datasets.split_check import content_findings
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic
from detdiffusion.utils.findings import Finding
from detdiffusion.utils.tables import format_table

if TYPE_CHECKING:
    from .config_check import ConfigCheck

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
SMALL = (0.001, 0.01, 0.02)
"""Shares of the image; objects up to these are counted."""
_ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass
class DatasetReport:
    """The result of :func:`check_dataset`.

    Attributes:
        source: the set and its form.
        tables: split -> its objects.
        masks: number of objects with a mask.
        paths: split -> its image files.
        findings: everything found, errors first.
        config: results for the config; None without one.
    """

    source: str
    tables: dict[str, ObjectTable]
    masks: int
    paths: dict[str, list[Path]]
    findings: list[Finding] = field(default_factory=list)
    config: ConfigCheck | None = None

    @property
    def errors(self) -> int:
        """Number of findings of severity ``error``."""
        return sum(finding.severity == "error" for finding in self.findings)

    def figures(self) -> dict[str, Any]:
        """Return all figures and findings as json data."""
        splits = {}
        for name, table in self.tables.items():
            shares = table.shares()[~table.crowds]
            splits[name] = dict(
                images=len(table.file_names),
                objects=int((~table.crowds).sum()),
                crowds=int(table.crowds.sum()),
                classes=dict(zip(table.classes, table.counts().tolist())),
                share_of_image=_quantiles(shares),
                objects_up_to={f"{limit:g}": int((shares <= limit).sum()) for limit in SMALL},
                objects_per_image=_quantiles(table.objects_per_image()),
            )
        config = None
        if self.config is not None:
            config = {k: v for k, v in dataclasses.asdict(self.config).items() if k != "findings"}
        return dict(
            source=self.source,
            masks=self.masks,
            splits=splits,
            config=config,
            findings=[dataclasses.asdict(finding) for finding in self.findings],
        )

    def tables_of_figures(self) -> dict[str, list[list]]:
        """Return the figures as tables, title -> rows, the first of which are the headings."""
        names, tables = list(self.tables), self.tables
        counts = {name: table.counts() for name, table in tables.items()}
        classes = next(iter(tables.values())).classes
        found = {"classes": [["class", *names]]}
        found["classes"] += [[label, *(counts[n][k] for n in names)] for k, label in enumerate(classes)]
        totals = [
            ["objects", *(int(c.sum()) for c in counts.values())],
            ["crowds", *(int(t.crowds.sum()) for t in tables.values())],
            ["images", *(len(t.file_names) for t in tables.values())],
        ]
        found["classes"] += [row for row in totals if row[0] != "crowds" or any(row[1:])]
        sizes = {n: t.shares()[~t.crowds] for n, t in tables.items()}
        rows = [["share of the image", *names]]
        for q in QUANTILES:
            rows.append(
                [
                    f"{q:.0%} of the objects up to",
                    *(_percent(np.quantile(s, q)) if len(s) else "" for s in sizes.values()),
                ]
            )
        rows += [
            [f"objects up to {limit:.1%}", *(int((s <= limit).sum()) for s in sizes.values())]
            for limit in SMALL
        ]
        for q in (0.5, 0.9, 1.0):
            per_image = [
                np.quantile(t.objects_per_image(), q) if t.file_names else 0 for t in tables.values()
            ]
            label = "most objects in an image" if q == 1 else f"objects in {q:.0%} of the images up to"
            rows.append([label, *(f"{value:.0f}" for value in per_image)])
        found["sizes"] = rows
        if (config := self.config) is not None:
            if config.kept:
                found["filter of the config"] = [["rule", "objects"], *map(list, config.kept.items())]
            if config.tokens:
                head = ["class", "tokens", f"objects in a prompt of {config.room} tokens", "left out"]
                found["prompts"] = [head] + [
                    [name, count, config.room // count, config.left_out.get(name, 0)]
                    for name, count in config.tokens.items()
                ]
            if config.needs:
                found["needs of the config"] = [["", ""], *map(list, config.needs.items())]
        return found

    def __str__(self) -> str:
        kind = "boxes"
        objects = sum(len(t.labels) for t in self.tables.values())
        if self.masks:
            kind = "masks" if self.masks >= objects else f"boxes, {self.masks} with a mask"
        lines = [f"{self.source}: {kind}"]
        for rows in self.tables_of_figures().values():
            lines += ["", format_table(rows)]
        lines.append("")
        for finding in self.findings:
            lines.append(f"{finding.severity + ':':<9}{finding}")
        counts = {level: sum(f.severity == level for f in self.findings) for level in _ORDER}
        lines.append(", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items()))
        return "\n".join(lines)


def check_dataset(
    sources: Sequence[str | Path] = (),
    *,
    config: str | None = None,
    cfg_options: Sequence[str] | None = None,
    attributes: str | Path | None = None,
    out: str | Path | None = None,
    img_dir: str | Path | None = None,
    sample: int = 2000,
    task: str = "auto",
    one_based: bool = False,
    progress: bool = True,
) -> DatasetReport:
    """Check a labelled set of any form, and optionally what a config does with it.

    Without a config and attributes this does not import torch.

    Args:
        sources: a folder or ``data.yaml`` of any form that
            :func:`~detdiffusion.datasets.formats.recognise.recognise` knows, or one or more COCO jsons of one set. By
            default the data of ``config``.
        config: a config whose filter, prompts, classes and memory are checked.
        cfg_options: overrides of the config, ``key=value``.
        attributes: an attributes file, which is compared with the objects of COCO jsons.
        out: folder for ``check.json`` and ``check.html``, a page with pictures.
        img_dir: folder of the images of COCO jsons, where it cannot be found beside them.
        sample: number of images of each split whose contents are compared with the other splits for similarity; equal
            files are always found. 0 compares none.
        task, one_based: see :func:`~detdiffusion.datasets.formats.any_form.read_set`.
        progress: show progress on stderr.

    Raises:
        UserError: if nothing can be read, or the splits differ in their classes.
    """
    cfg = None
    if config is not None:
        from detdiffusion.utils.config import load_config
        from detdiffusion.utils.image_rules import use_rules_of_config

        cfg = load_config(config, cfg_options)
        use_rules_of_config(cfg, config)
    source = _source(list(sources), cfg, img_dir)
    converted = read_set(
        source, task=task, one_based=one_based, decode=False, progress=progress, segmentations=False
    )
    if not converted.images:
        raise UserError(f"{source.root}: no image can be used\n{converted.summary()}")
    report = _report(source, converted)
    report.findings += reading_findings(converted, str(source.root))
    for name, table in report.tables.items():
        report.findings += object_findings(table, str(source.root), "train" if name == "all" else name)
    report.findings += content_findings(report.paths, str(source.root), sample, progress)
    if attributes is not None:
        from .attributes_check import attributes_findings

        report.findings += attributes_findings(attributes, [part.ann_file for part in source.parts])
    if cfg is not None:
        report.config = _check_config(cfg, source, converted, report)
        report.findings += report.config.findings
    report.findings.sort(key=lambda finding: _ORDER[finding.severity])
    if out is not None:
        from detdiffusion.visualization.reports.dataset import write_dataset_page

        write_atomic(Path(out) / "check.json", json.dumps(report.figures(), indent=1, default=str).encode())
        write_dataset_page(
            Path(out) / "check.html",
            report.source,
            report.findings,
            report.tables_of_figures(),
            report.tables,
            report.paths,
        )
    return report


def _source(sources: list, cfg, img_dir) -> LabelledSource:
    """Return one source: the given ones, or the data of the config."""
    if not sources:
        if cfg is None:
            raise UserError("give the set to check, or `config` to check the data that it names")
        return _source_of_config(cfg)
    found = [recognise(source, img_dir) for source in sources]
    if len(found) == 1:
        return found[0]
    if not all(source.parts for source in found):
        raise UserError(
            f"several sets are given ({', '.join(map(str, sources))}); only COCO jsons of one set can be checked together"
        )
    return LabelledSource("COCO", Path(sources[0]), tuple(part for source in found for part in source.parts))


def _source_of_config(cfg) -> LabelledSource:
    from detdiffusion.datasets.formats.recognise import CocoPart

    parts = []
    for split in ("train", "val", "test"):
        dataset = (cfg.get(f"{split}_dataloader") or {}).get("dataset") or {}
        while isinstance(dataset.get("dataset"), Mapping):
            dataset = dataset["dataset"]
        root = Path(dataset.get("data_root") or "")
        files = dataset.get("ann_files") or dataset.get("ann_file") or []
        folder = dataset.get("img_dir") or (dataset.get("data_prefix") or {}).get("img") or ""
        for path in [files] if isinstance(files, str) else files:
            part = CocoPart(split, root / path, (root / folder,))
            if part.ann_file not in (known.ann_file for known in parts):
                parts.append(part)
    if not parts:
        raise UserError(
            f"config {cfg.filename}: names no annotation file; give the set to check as an argument"
        )
    return LabelledSource("COCO", Path(str(cfg.filename)), tuple(parts))


def _report(source: LabelledSource, converted: Conversion) -> DatasetReport:
    label_of = {number: number - 1 for number in range(1, len(converted.classes) + 1)}
    objects: dict[int, list[dict]] = {}
    for annotation in converted.annotations:
        objects.setdefault(annotation["image_id"], []).append(annotation)
    tables, paths = {}, {}
    for split, ids in converted.splits.items():
        images = [converted.images[number - 1] for number in ids]
        own = (annotation for number in ids for annotation in objects.get(number, ()))
        tables[split] = ObjectTable.of(converted.classes, images, own, label_of)
        paths[split] = [converted.sources[number] for number in ids]
    return DatasetReport(f"{source.root}: {source}", tables, converted.masks, paths)


def _check_config(cfg, source: LabelledSource, converted: Conversion, report: DatasetReport) -> ConfigCheck:
    from .config_check import check_config

    split = "train" if "train" in report.tables else next(iter(report.tables))
    images = len(report.tables[split].file_names)
    files = [part.ann_file for part in source.parts if part.split == split]
    with tempfile.TemporaryDirectory() as folder:
        if not files:
            files = [converted.write(folder, "none")[split]]
        return check_config(cfg, files, folder, converted.classes, images)


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {f"{q:g}": float(np.quantile(values, q)) for q in QUANTILES} if len(values) else {}


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%" if share < 0.1 else f"{100 * share:.0f}%"
