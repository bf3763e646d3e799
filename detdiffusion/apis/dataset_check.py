"""Checking a labelled set before anything is trained on it: findings, figures and pictures."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from detdiffusion.datasets.formats.conversion import Conversion
from detdiffusion.datasets.formats.recognise import CocoPart, LabelledSource, recognise
from detdiffusion.datasets.set_check import DatasetReport, check_set
from detdiffusion.utils.config_datasets import unwrapped
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import write_atomic

_ROLE = re.compile(r"(train|val|test)=(.+\.json)", re.IGNORECASE)


def check_dataset(
    sources: Sequence[str | Path] = (),
    *,
    config: str | None = None,
    cfg_options: Sequence[str] | None = None,
    work_dir: str | Path | None = None,
    attributes: str | Path | None = None,
    out: str | Path | None = None,
    img_dir: str | Path | Sequence[str | Path] | None = None,
    classes: Sequence[str] | None = None,
    sample: int = 2000,
    task: str = "auto",
    one_based: bool = False,
    progress: bool = True,
) -> DatasetReport:
    """Check a labelled set of any form, and optionally what a config does with it.

    Without a config and attributes this does not import torch.

    Args:
        sources: a folder or ``data.yaml`` of any form that
            :func:`~detdiffusion.datasets.formats.recognise.recognise` knows, or one or more COCO jsons of one set, each
            of the split that its name states or that stands before it, ``val=more/labels.json``. By default the data of
            ``config``.
        config: a config whose filter, prompts, classes, memory and time are checked.
        cfg_options: overrides of the config, ``key=value``.
        work_dir: work dir of an earlier training of ``config`` on this machine, whose logs tell the seconds of a step;
            default: that of ``tools/train.py``, if it has logs.
        attributes: an attributes file, which is compared with the objects of COCO jsons.
        out: folder for ``check.json`` and ``check.html``, a page with pictures.
        img_dir: folder of the images of COCO jsons, where it cannot be found beside them; or one for each of them.
        classes: classes to check; default: all, which must then be the same in every split. Not for YOLO.
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
    report, converted = check_set(
        source,
        attributes=attributes,
        classes=classes,
        sample=sample,
        task=task,
        one_based=one_based,
        progress=progress,
    )
    if cfg is not None:
        report.config = _check_config(cfg, source, converted, report, work_dir)
        report.findings += report.config.findings
    report.sort()
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
    folders = [img_dir] if img_dir is None or isinstance(img_dir, (str, Path)) else list(img_dir)
    if len(folders) not in (1, len(sources)):
        raise UserError(
            f"`img_dir`: one folder, or one for each of the {len(sources)} jsons; got {len(folders)}"
        )
    folders *= len(sources) // len(folders)
    found = [_recognised(source, folder) for source, folder in zip(sources, folders)]
    if len(found) == 1:
        return found[0]
    if not all(source.parts for source in found):
        raise UserError(
            f"several sets are given ({', '.join(map(str, sources))}); only COCO jsons of one set can be checked "
            "together"
        )
    return LabelledSource("COCO", Path(sources[0]), tuple(part for source in found for part in source.parts))


def _recognised(source: str | Path, img_dir: str | Path | None) -> LabelledSource:
    """Return a source; one written as ``SPLIT=JSON`` has that split."""
    named = _ROLE.fullmatch(str(source))
    if named is None or Path(source).exists():
        return recognise(source, img_dir)
    found = recognise(named[2], img_dir)
    parts = tuple(replace(part, split=named[1].lower()) for part in found.parts)
    return replace(found, parts=parts)


def _source_of_config(cfg) -> LabelledSource:
    parts = []
    for split in ("train", "val", "test"):
        dataset = unwrapped((cfg.get(f"{split}_dataloader") or {}).get("dataset") or {})
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


def _check_config(cfg, source: LabelledSource, converted: Conversion, report: DatasetReport, work_dir):
    from detdiffusion.engine.config_check import check_config

    split = "train" if "train" in report.tables else next(iter(report.tables))
    images = len(report.tables[split].file_names)
    files = [part.ann_file for part in source.parts if part.split == split]
    with tempfile.TemporaryDirectory() as folder:
        if not files:
            files = [converted.write(folder, "none")[split]]
        return check_config(cfg, files, folder, converted.classes, images, work_dir)
