"""Quality gate: checks a synthetic set with a detector, for ``tools/quality_gate.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from detdiffusion.datasets.coco_json import CocoFile, read_coco
from detdiffusion.evaluation.real_comparison import (
    COMPARED,
    NO_COMPARISON,
    compare_with_real,
    read_real_images,
)
from detdiffusion.generation.gate_options import GateReference, GateRules, GateThresholds
from detdiffusion.generation.identity import check_unique
from detdiffusion.generation.quality_gate import (
    VERDICTS,
    Extra,
    Finding,
    apply_rules,
    check_sources,
    count,
    judge,
    sample_scores,
    samples_to_draw,
)
from detdiffusion.perception.prediction_source import predict_set
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import check_not_input, check_writable, write_atomic
from detdiffusion.utils.shared_options import PredictionOptions
from detdiffusion.utils.tables import format_table


def run_quality_gate(
    folder: str | Path,
    out: str | Path,
    source: PredictionOptions,
    rules: GateRules | None = None,
    thresholds: GateThresholds | None = None,
    reference: GateReference | None = None,
) -> dict:
    """Judge the objects of a set, and write new annotations and a report; the set itself is not modified.

    Args:
        folder: a set written by ``tools/generate.py``.
        out: file for the new annotations; the report is written under the same name with suffix ``.report.json``.
        source: a detector, whose predictions are cached under the same name with suffix ``.predictions``, so that a
            killed run can be resumed and other rules need no new detections; or COCO results for the set's images.
        rules: the rules to apply; default: only count.
        thresholds: see :func:`detdiffusion.generation.quality_gate.judge`.
        reference: real images for the rules that compare with them, see
            :mod:`detdiffusion.evaluation.class_comparison`.

    Returns:
        The report: settings, counts in total, by attribute and by class, the comparison with real images by class, and
        the changes.

    Raises:
        UserError: an option or an input file is not valid, or no image of the set is left.
    """
    rules, thresholds = rules or GateRules(), thresholds or GateThresholds()
    annotations, out = Path(folder) / "annotations.json", Path(out)
    reference = reference or GateReference()
    _check_paths(annotations, out, source, reference)
    real = read_real_images(reference, rules, source)
    file = read_coco(annotations)
    if file.findings:
        print(file.summary())
    for option in ("best_samples", "draw_up_to"):
        if getattr(rules, option) is not None:
            check_sources(file.images, option, annotations)
    images, ids_of_name = Path(folder) / "images", {c["name"]: c["id"] for c in file.categories}
    if source.predictions is None:
        _check_images(file.images, images)
    answer = predict_set(source, file.images, ids_of_name, images, [annotations], out)
    found = answer.predictions
    for reason, number in found.report.items():
        print(f"  {number} × {reason}")
    print()
    coco, compared = file.as_json(), NO_COMPARISON
    if real is not None:
        compared = compare_with_real(coco, answer, real, rules, out)
    nameable = answer.nameable | compared.nameable
    findings, extras = judge(file.images, file.annotations, found, nameable, **asdict(thresholds))
    gated, done = apply_rules(coco, findings, extras, rules, compared.refused, compared.high_loss)
    settings = {**asdict(thresholds), **asdict(rules), **reference.as_json()}
    gated["info"] = {**gated["info"], "quality_gate": settings}
    report = dict(
        set=str(folder),
        detector=answer.detector,
        settings=settings,
        images=dict(before=len(file.images), after=len(gated["images"])),
        **_counts(file, findings, extras),
        compared=compared.by_class,
        done={reason: number for reason, number in done.items() if number},
    )
    print(format_report(report, rules))
    if not gated["images"]:
        raise UserError(f"{annotations}: no image is left: {_why_none(done, rules, len(file.images))}")
    counts = None
    if rules.draw_up_to is not None:
        scores = sample_scores(file.annotations, findings, extras)
        counts = samples_to_draw(file.images, scores, rules.draw_up_to)
    _write(gated, report, counts, out)
    return report


def _check_paths(annotations: Path, out: Path, source: PredictionOptions, reference: GateReference) -> None:
    """Check the output paths before a long run."""
    if out.suffix != ".json" or out.is_dir():
        raise UserError(
            f"{out}: `out` must be a .json file, e.g. {annotations.with_name('annotations_gated.json')}"
        )
    inputs = (annotations, source.predictions, reference.real_ann, reference.real_predictions)
    check_not_input(out, inputs, "`out`")
    check_writable(out)


def _why_none(done: Mapping[str, int], rules: GateRules, total: int) -> str:
    few = done["images dropped: too few objects found"]
    reasons = f"all {few} are" if few == total else f"{total - few} show a refused class, {few} are"
    return (
        f"{reasons} below `min_found` {rules.min_found}; was the detector trained on such images? Nothing is "
        "written; a lower `min_found` or `min_class_ap` keeps more images"
    )


def _counts(file: CocoFile, findings: Mapping[int, Finding], extras: Sequence[Extra]) -> dict:
    """Count verdicts in total, by attribute and by class."""
    names = {category["id"]: category["name"] for category in file.categories}

    def class_of(item: Mapping | Extra) -> str:
        return names[item.category_id if isinstance(item, Extra) else item["category_id"]]

    def attribute_of(item: Mapping | Extra) -> str | None:
        return None if isinstance(item, Extra) else item.get("attribute")

    return dict(
        all=count(file.annotations, findings, extras, lambda item: "all").get("all", {}),
        by_attribute=count(file.annotations, findings, extras, attribute_of),
        by_class=count(file.annotations, findings, extras, class_of),
    )


def _write(gated: Mapping, report: Mapping, counts: Mapping[int, int] | None, out: Path) -> None:
    check_unique((annotation["id"] for annotation in gated["annotations"]), "annotation")
    write_atomic(out, json.dumps(gated).encode())
    report_path = out.with_suffix(".report.json")
    write_atomic(report_path, json.dumps(report, indent=1).encode() + b"\n")
    print(f"written: {out} ({len(gated['images'])} images), {report_path}")
    if counts is not None:
        path = out.with_suffix(".samples.json")
        write_atomic(path, json.dumps(counts, indent=1).encode() + b"\n")
        print(f"written: {path} ({sum(counts.values())} images of {len(counts)} layouts)")


def _check_images(images: Sequence[Mapping], folder: Path) -> None:
    """Raise a UserError if images of the set are missing, before the detector is loaded."""
    missing = [image["file_name"] for image in images if not (folder / image["file_name"]).is_file()]
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} of the set's {len(images)} images are missing, the first {missing[0]}; run "
            "tools/generate.py again to complete the set"
        )


def format_report(report: Mapping, rules: GateRules) -> str:
    """Format the report's counts as a table for the terminal."""
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
    if report["compared"]:
        lines.append(["class", *COMPARED.values()])
        lines += [[name, *(row[key] for key in COMPARED)] for name, row in report["compared"].items()] + [[]]
    done = [f"  {number} × {reason}" for reason, number in report["done"].items()]
    if not done:
        given = rules != GateRules(draw_up_to=rules.draw_up_to)
        done = [f"  nothing: {'the rules match no object or image' if given else 'no rule was given'}"]
    return "\n".join([format_table(lines), "done:", *done])
