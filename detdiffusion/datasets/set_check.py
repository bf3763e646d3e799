"""Checking a labelled set: its figures, and findings about its files, objects and splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.findings import Finding
from detdiffusion.utils.tables import format_table

from .formats.any_form import read_set, reading_findings
from .formats.conversion import Conversion, by_image
from .formats.recognise import LabelledSource
from .object_table import ObjectTable
from .set_findings import object_findings
from .split_check import content_findings

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
SMALL = (0.001, 0.01, 0.02)
"""Shares of the image; objects up to these are counted."""
_ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass
class DatasetReport:
    """The result of :func:`detdiffusion.apis.check_dataset`.

    Attributes:
        source: the set and its form.
        tables: split -> its objects.
        masks: number of objects with a mask.
        paths: split -> its image files.
        findings: everything found, errors first.
        config: a :class:`detdiffusion.engine.config_check.ConfigCheck`; None without a config.
    """

    source: str
    tables: dict[str, ObjectTable]
    masks: int
    paths: dict[str, list[Path]]
    findings: list[Finding] = field(default_factory=list)
    config: Any = None

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
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        return dict(
            source=self.source,
            masks=self.masks,
            splits=splits,
            config=None if self.config is None else self.config.figures(),
            findings=findings,
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
        return {**found, **(self.config.tables() if self.config is not None else {})}

    def sort(self) -> None:
        """Sort the findings: errors first, then warnings and notes."""
        self.findings.sort(key=lambda finding: _ORDER[finding.severity])

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


def check_set(
    source: LabelledSource,
    *,
    attributes: str | Path | None = None,
    classes: Sequence[str] | None = None,
    sample: int = 2000,
    task: str = "auto",
    one_based: bool = False,
    progress: bool = True,
) -> tuple[DatasetReport, Conversion]:
    """Check a labelled set; see :func:`detdiffusion.apis.check_dataset` for the arguments.

    Returns:
        The report, without a config, and the set as it was read, without segmentations.

    Raises:
        UserError: if nothing can be read, or the splits differ in their classes.
    """
    options = dict(task=task, one_based=one_based, decode=False, progress=progress, segmentations=False)
    converted = read_set(source, classes=classes, **options)
    if not converted.images:
        raise UserError(f"{source.root}: no image can be used\n{converted.summary()}")
    report, where = _report(source, converted), str(source.root)
    report.findings += reading_findings(converted, where)
    for name, table in report.tables.items():
        report.findings += object_findings(table, where, "train" if name == "all" else name)
    report.findings += content_findings(report.paths, where, sample, progress)
    if attributes is not None:
        from .attributes_check import attributes_findings  # imports torch

        report.findings += attributes_findings(attributes, [part.ann_file for part in source.parts])
    return report, converted


def _report(source: LabelledSource, converted: Conversion) -> DatasetReport:
    label_of = {number: number - 1 for number in range(1, len(converted.classes) + 1)}
    objects = by_image(converted.annotations)
    tables, paths = {}, {}
    for split, ids in converted.splits.items():
        images = [converted.images[number - 1] for number in ids]
        own = (annotation for number in ids for annotation in objects.get(number, ()))
        tables[split] = ObjectTable.of(converted.classes, images, own, label_of)
        paths[split] = [converted.sources[number] for number in ids]
    return DatasetReport(f"{source.root}: {source}", tables, converted.masks, paths)


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {f"{q:g}": float(np.quantile(values, q)) for q in QUANTILES} if len(values) else {}


def _percent(share: float) -> str:
    return f"{100 * share:.2g}%" if share < 0.1 else f"{100 * share:.0f}%"
