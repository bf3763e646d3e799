"""Extraction of attributes: from annotations and a detector to ``attributes.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.datasets.attributes_file import AttributesFile
from detdiffusion.datasets.coco_json import CocoFile, merge_checked, read_coco
from detdiffusion.datasets.image_files import image_folder
from detdiffusion.datasets.object_digests import digests_of_set
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import check_not_input, check_writable, sha256_of, write_atomic
from detdiffusion.utils.shared_options import AnnotatedImages, PredictionOptions

from .attribute_options import AttributeFiles, AttributeRule
from .attributes import AttributeResult, perception_attributes
from .levels import Levels
from .prediction_source import SetPredictions, predict_set
from .summary import format_summary, plot_summary, summarise


@dataclass(frozen=True)
class _LabelledSet:
    """Annotation files of one set, read and merged."""

    files: list[CocoFile]
    images: dict[int, dict]
    categories: dict[int, dict]
    annotations: list[dict]

    @property
    def names(self) -> dict[int, str]:
        """Category names by id."""
        return {key: category["name"] for key, category in self.categories.items()}

    @property
    def paths(self) -> str:
        """Paths of the files, for messages."""
        return ", ".join(str(file.path) for file in self.files)


def extract(
    labelled: AnnotatedImages,
    source: PredictionOptions,
    files: AttributeFiles,
    rule: AttributeRule | None = None,
) -> AttributesFile:
    """Extract the attributes of an annotated data set, write them to a file and print a summary.

    A plot of the summary is written under the name of ``files.out`` with suffix ``.png``.

    Args:
        labelled: COCO jsons of one data set (instances, stuff), with annotation ids unique across them, and the image
            folder, which is needed with a detector only.
        source: the detector or its results.
        files: the files to write.
        rule: the rule that determines the attributes.

    Raises:
        UserError: an option or an input file is not valid.
    """
    rule = rule or AttributeRule()
    _check_conflicts(labelled, source, files)
    _check_paths(labelled, source, files)
    levels = None if rule.levels is None else Levels.parse(rule.levels)
    data = _read(labelled.files)
    found = _predict(source, labelled, files, data)
    thresholds = dict(score_thr=rule.score_thr, iou_thr=rule.iou_thr, class_aware=rule.class_aware)
    result = perception_attributes(
        data.annotations, found.predictions, found.nameable, levels=levels, **thresholds
    )
    if levels is not None:
        levels = levels.fitted(list(result.scores.values()))
        thresholds = dict(
            class_aware=rule.class_aware, words=list(result.words), level_thresholds=list(levels.thresholds)
        )
    groups = summarise(data.annotations, result.attributes, data.names, result.words)
    info = _info(data, found, result, thresholds, groups)
    scores = result.scores if files.with_scores else {}
    digests = digests_of_set(data.images, data.names, data.annotations)
    written = AttributesFile(Path(files.out), result.attributes, info, scores, digests)
    written.write()
    plot_summary(groups, _picture(files.out), result.words)
    _report(found, data, result.skipped, levels)
    print(format_summary(groups, result.words))
    print(f"written: {files.out} ({len(result.attributes)} attributes), {_picture(files.out)}")
    return written


def _picture(out: str | Path) -> Path:
    return Path(out).with_suffix(".png")


def _check_conflicts(labelled: AnnotatedImages, source: PredictionOptions, files: AttributeFiles) -> None:
    if source.detector is None:
        for name, value in (("save_predictions", files.save_predictions), ("img_dir", labelled.img_dir)):
            if value is not None:
                raise UserError(f"`{name}` requires a detector; omit it with `predictions`")


def _check_paths(labelled: AnnotatedImages, source: PredictionOptions, files: AttributeFiles) -> None:
    """Check the output paths before a long run."""
    out = Path(files.out)
    if out.is_dir():
        raise UserError(f"{out}: `out` must be a file, but this is a folder; e.g. {out / 'attributes.json'}")
    if out.suffix == ".png":
        raise UserError(f"{out}: `out` must be a json file; the plot is written under its name with .png")
    checkpoint = None if source.detector is None else source.detector[1]
    inputs = (*labelled.files, checkpoint, source.predictions)
    targets = {
        "`out`": out,
        "the picture of `out`": _picture(out),
        "`save_predictions`": files.save_predictions,
    }
    for name, target in targets.items():
        if target is not None:
            check_not_input(target, inputs, name)
            check_writable(target, name)
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise UserError(f"{checkpoint}: no such checkpoint; check the path")


def _read(paths: Sequence[str | Path]) -> _LabelledSet:
    files = [read_coco(path) for path in paths]
    for file in files:
        print(file.summary())
    data = _LabelledSet(files, *merge_checked(files))
    if not data.annotations:
        raise UserError(
            f"{data.paths}: no usable annotation, so there are no objects to assign attributes to"
        )
    return data


def _predict(
    source: PredictionOptions, labelled: AnnotatedImages, files: AttributeFiles, data: _LabelledSet
) -> SetPredictions:
    images, ids_of_name = list(data.images.values()), {name: key for key, name in data.names.items()}
    folder = image_folder(labelled.img_dir, labelled.files[0]) if source.predictions is None else None
    found = predict_set(source, images, ids_of_name, folder, labelled.files, files.out)
    if files.save_predictions is not None:
        results = found.predictions.to_coco_results()
        write_atomic(files.save_predictions, json.dumps(results).encode())
    return found


def _info(
    data: _LabelledSet, found: SetPredictions, result: AttributeResult, rule: dict, groups: dict
) -> dict:
    """Return the ``info`` of the attributes file."""
    return {
        "detector": found.detector,
        **rule,
        "nameable": [data.names[key] for key in sorted(found.nameable)],
        "annotation_files": [{"path": str(f.path), "sha256": sha256_of(f.path)} for f in data.files],
        "counts": {"images": len(data.images), "predictions": len(found.predictions), **result.counts},
        "skipped": {**result.skipped, **_skips(data.files)},
        "summary": groups,
    }


def _skips(files: Sequence[CocoFile]) -> dict[str, int]:
    total: dict[str, int] = {}
    for file in files:
        for reason, count in file.report.items():
            total[reason] = total.get(reason, 0) + count
    return total


def _report(
    found: SetPredictions, data: _LabelledSet, skipped: dict[str, int], levels: Levels | None
) -> None:
    predictions = found.predictions
    print(f"{len(predictions)} predictions on {len(data.images)} images")
    without = len(data.images) - len(set(predictions.image_ids.tolist()))
    if without:
        print(f"  {without} × images without any prediction: their nameable objects are hard")
    for reason, count in {**predictions.report, **skipped}.items():
        print(f"  {count} × {reason}")
    background = [data.names[key] for key in sorted(set(data.names) - found.nameable)]
    if background:
        print(f"  background, since the detector does not know these classes: {', '.join(background)}")
    print()
    if levels is not None:
        limits = ", ".join(f"{n} above {t:g}" for n, t in zip(levels.names, levels.thresholds))
        print(f"levels by the highest IoU x score: {limits}, {levels.names[-1]} below\n")
