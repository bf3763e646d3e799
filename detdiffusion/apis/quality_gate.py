"""A detector re-reads a synthetic set: what ``tools/quality_gate.py`` runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.generation.identity import check_unique
from detdiffusion.generation.quality_gate import VERDICTS, Extra, GateRules, apply_rules, count, judge
from detdiffusion.perception.prediction_source import PredictionSource
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import check_writable, write_atomic
from detdiffusion.utils.tables import format_table


def run_quality_gate(
    folder: str | Path,
    out: str | Path,
    *,
    config: str | None = None,
    checkpoint: str | None = None,
    predictions: str | Path | None = None,
    detector_classes: Sequence[str] | None = None,
    rules: GateRules | None = None,
    score_thr: float = 0.3,
    iou_thr: float = 0.5,
    moved_iou: float = 0.1,
    batch_size: int | None = None,
    device: str | None = None,
    cfg_options: Sequence[str] | None = None,
) -> dict:
    """Judges a set and writes new annotations and a report beside each other; the set stays as it is.

    Args:
        folder: a set of ``tools/generate.py``.
        out: the new annotations; the report goes to the same name with ``.report.json``.
        config, checkpoint: a detector, mmdet's or an ``.onnx`` file; its predictions are cached in the same name
            with ``.predictions``, so that a killed run continues and other rules cost no detecting; or
        predictions: a COCO results json of the set's images, with
        detector_classes: the names that its detector knows; default: the categories that occur in the results.
        rules: what to do; default nothing but counting.
        score_thr, iou_thr, moved_iou: see :func:`detdiffusion.generation.quality_gate.judge`.
        batch_size, device, cfg_options: of the detector.

    Returns:
        The report: settings, counts by class, attribute and in all, and what was done.

    Raises:
        UserError: anything wrong with the input; nothing left of the set.
    """
    rules = rules or GateRules()
    for name, value in (("score-thr", score_thr), ("iou-thr", iou_thr), ("moved-iou", moved_iou)):
        if not 0 <= value < 1:
            raise UserError(f"--{name} must be in [0, 1), it is {value}")
    if not 0 < moved_iou <= iou_thr:
        raise UserError(f"--moved-iou must be above 0 and at most --iou-thr, it is {moved_iou}")
    source, out = Path(folder) / "annotations.json", Path(out)
    if out.suffix != ".json" or out.is_dir():
        raise UserError(
            f"{out}: --out must be a .json file, e.g. {source.with_name('annotations_gated.json')}"
        )
    inputs = [Path(p).resolve() for p in (source, predictions) if p is not None]
    if out.resolve() in inputs:
        raise UserError(f"{out}: --out would overwrite an input file; choose another name")
    check_writable(out)
    file = read_coco(source)
    if file.findings:
        print(file.summary())
    coco = dict(
        info=file.info,
        licenses=[],
        images=file.images,
        annotations=file.annotations,
        categories=file.categories,
    )
    ids_of_name = {category["name"]: category["id"] for category in file.categories}
    detector = PredictionSource(
        config,
        checkpoint,
        predictions,
        detector_classes,
        cache=out.with_suffix(".predictions"),
        batch_size=batch_size,
        device=device,
        cfg_options=cfg_options,
    )
    images = Path(folder) / "images"
    if predictions is None:
        _check_images(file.images, images)
    answer = detector.predict(file.images, ids_of_name, images, [source])
    found, nameable = answer.predictions, answer.nameable
    for reason, number in found.report.items():
        print(f"  {number} × {reason}")
    print()
    thresholds = dict(score_thr=score_thr, iou_thr=iou_thr, moved_iou=moved_iou)
    findings, extras = judge(file.images, file.annotations, found, nameable, **thresholds)
    gated, done = apply_rules(coco, findings, extras, rules)
    settings = {**thresholds, **asdict(rules)}
    gated["info"] = {**gated["info"], "quality_gate": settings}
    names = {category["id"]: category["name"] for category in file.categories}

    def class_of(one: Mapping | Extra) -> str:
        return names[one.category_id if isinstance(one, Extra) else one["category_id"]]

    def attribute_of(one: Mapping | Extra) -> str | None:
        return None if isinstance(one, Extra) else one.get("attribute")

    report = dict(
        set=str(folder),
        detector=answer.detector,
        settings=settings,
        images=dict(before=len(file.images), after=len(gated["images"])),
        all=count(file.annotations, findings, extras, lambda one: "all").get("all", {}),
        by_attribute=count(file.annotations, findings, extras, attribute_of),
        by_class=count(file.annotations, findings, extras, class_of),
        done={reason: number for reason, number in done.items() if number},
    )
    print(format_report(report))
    if not gated["images"]:
        raise UserError(
            f"{source}: no image is left: all {len(file.images)} are below --min-found {rules.min_found}; is the "
            "detector trained on such images? Nothing is written; a lower --min-found keeps more"
        )
    check_unique((annotation["id"] for annotation in gated["annotations"]), "annotation")
    write_atomic(out, json.dumps(gated).encode())
    report_path = out.with_suffix(".report.json")
    write_atomic(report_path, json.dumps(report, indent=1).encode() + b"\n")
    print(f"written: {out} ({len(gated['images'])} images), {report_path}")
    return report


def _check_images(images: Sequence[Mapping], folder: Path) -> None:
    """UserError where images of the set are missing, before the detector is loaded."""
    missing = [image["file_name"] for image in images if not (folder / image["file_name"]).is_file()]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of the set's {len(images)} images are missing, the first {missing[0]}; run "
            "tools/generate.py again to complete the set"
        )


def format_report(report: Mapping) -> str:
    """The report's counts as a table for the terminal."""
    groups = {"": {"all": report["all"]}, "attribute": report["by_attribute"], "class": report["by_class"]}
    columns = (*VERDICTS, "extra")
    lines: list[list] = []
    for title, rows in groups.items():
        if rows:
            lines += [[title, *columns, "found"]]
        for name, row in rows.items():
            judged = sum(row.get(verdict, 0) for verdict in ("kept", "moved", "missed"))
            share = f"{row['kept'] / judged:.1%}" if judged else "-"
            lines.append([name, *(row.get(column, 0) for column in columns), share])
        lines.append([])
    done = [f"  {number} × {reason}" for reason, number in report["done"].items()]
    return "\n".join([format_table(lines), "done:", *(done or ["  nothing: no rule was given"])])
