"""The whole way from annotations and a detector to ``attributes.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from detdiffusion.datasets.attributes_file import AttributesFile
from detdiffusion.datasets.coco_json import CocoFile, merge_checked, read_coco
from detdiffusion.datasets.image_files import image_folder
from detdiffusion.datasets.object_digests import object_digests
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import check_writable, sha256_of, write_atomic

from .attributes import IOU_THR, SCORE_THR, perception_attributes
from .levels import Levels
from .prediction_source import PredictionSource
from .predictions import Predictions
from .summary import format_summary, plot_summary, summarise


def extract(
    annotation_files: Sequence[str | Path],
    out: str | Path,
    *,
    config: str | None = None,
    checkpoint: str | None = None,
    predictions: str | Path | None = None,
    img_dir: str | Path | None = None,
    detector_classes: Sequence[str] | None = None,
    score_thr: float = SCORE_THR,
    iou_thr: float = IOU_THR,
    class_aware: bool = False,
    levels: Sequence[str] | None = None,
    with_scores: bool = False,
    save_predictions: str | Path | None = None,
    cache: str | Path | bool = True,
    batch_size: int | None = None,
    num_workers: int = 0,
    device: str | None = None,
    cfg_options: Sequence[str] | None = None,
) -> AttributesFile:
    """Attributes of a labelled set, by a detector or by its results; writes the file and prints a summary.

    Beside ``out`` goes a picture of the summary, the same name as ``.png``.

    Args:
        annotation_files: COCO jsons of one set (instances, stuff), annotation ids unique over them.
        out: the attributes file.
        config, checkpoint: a detector, mmdet's or an ``.onnx`` file (:func:`load_detector`); or
        predictions: a COCO results json.
        img_dir: with a detector: folder of the images; default ``images`` beside the first annotation file or beside
            its folder.
        detector_classes: with ``predictions``: the names that the detector knows (or one text file with a
            name a line); default: the categories that occur in the results.
        score_thr, iou_thr, class_aware: Equation 2, see :func:`perception_attributes`.
        levels: texts of :meth:`Levels.parse`: levels of difficulty in place of easy and hard.
        with_scores: write the continuous scores too.
        save_predictions: with a detector: also write what it found as a COCO results json.
        cache: with a detector: folder of finished chunks of predictions, so that a killed run continues and other
            thresholds cost no detecting. True: ``OUT.predictions`` without its suffix; False: none.
        batch_size, num_workers, device, cfg_options: of the detector.

    Raises:
        UserError: anything wrong with the input, by one message.
    """
    _check_paths(annotation_files, out, checkpoint, predictions, save_predictions)
    bins = None if levels is None else Levels.parse(levels)
    files = [read_coco(path) for path in annotation_files]
    for file in files:
        print(file.summary())
    images, categories, annotations = merge_checked(files)
    if not annotations:
        raise UserError(f"{_names(files)}: no usable annotation; there is nothing to give attributes to")
    ids_of_name = {category["name"]: key for key, category in categories.items()}

    source = PredictionSource(
        config,
        checkpoint,
        predictions,
        detector_classes,
        cache=Path(out).with_suffix(".predictions") if cache is True else cache or None,
        batch_size=batch_size,
        num_workers=num_workers,
        device=device,
        cfg_options=cfg_options,
    )
    folder = image_folder(img_dir, annotation_files[0]) if predictions is None else None
    answer = source.predict(list(images.values()), ids_of_name, folder, [file.path for file in files])
    found, nameable = answer.predictions, answer.nameable
    if save_predictions is not None:
        write_atomic(save_predictions, json.dumps(found.to_coco_results()).encode())

    rule = dict(score_thr=score_thr, iou_thr=iou_thr, class_aware=class_aware)
    result = perception_attributes(annotations, found, nameable, levels=bins, **rule)
    if bins is not None:
        bins = bins.fitted(list(result.scores.values()))
        rule = dict(class_aware=class_aware, words=list(result.words), level_thresholds=list(bins.thresholds))
    names = {key: category["name"] for key, category in categories.items()}
    groups = summarise(annotations, result.attributes, names, result.words)
    info = {
        "detector": answer.detector,
        **rule,
        "nameable": [names[key] for key in sorted(nameable)],
        "annotation_files": [{"path": str(f.path), "sha256": sha256_of(f.path)} for f in files],
        "counts": {"images": len(images), "predictions": len(found), **result.counts},
        "skipped": {**result.skipped, **_skips(files)},
        "summary": groups,
    }
    scores = result.scores if with_scores else {}
    written = AttributesFile(Path(out), result.attributes, info, scores, _digests(annotations, images, names))
    written.write()
    plot = Path(out).with_suffix(".png")
    plot_summary(groups, plot, result.words)
    _report(found, images, result.skipped, [names[k] for k in sorted(set(names) - nameable)])
    if bins is not None:
        limits = ", ".join(f"{n} above {t:g}" for n, t in zip(bins.names, bins.thresholds))
        print(f"levels by the highest IoU x score: {limits}, {bins.names[-1]} below\n")
    print(format_summary(groups, result.words))
    print(f"written: {out} ({len(result.attributes)} attributes), {plot}")
    return written


def _check_paths(annotation_files, out, checkpoint, predictions, save_predictions) -> None:
    """What a run of hours should not end with."""
    out = Path(out)
    if out.is_dir():
        raise UserError(f"{out}: --out is a folder, but a file is wanted, e.g. {out / 'attributes.json'}")
    if out.suffix == ".png":
        raise UserError(f"{out}: --out is a json file; its picture gets the same name with .png")
    inputs = [p for p in (*annotation_files, checkpoint, predictions) if p is not None]
    targets = {
        "--out": out,
        "--out's picture": out.with_suffix(".png"),
        "--save-predictions": save_predictions,
    }
    for option, target in targets.items():
        if target is not None and any(Path(target).resolve() == Path(path).resolve() for path in inputs):
            raise UserError(f"{target}: {option} would overwrite an input file; choose another name")
        if target is not None:
            check_writable(target, option)
    if checkpoint is not None and not Path(checkpoint).is_file():
        raise UserError(f"{checkpoint}: no such checkpoint; check the path")


def _digests(annotations: Sequence[dict], images: dict[int, dict], names: dict[int, str]) -> dict[int, int]:
    file_names = {key: image["file_name"] for key, image in images.items()}
    digests = object_digests(annotations, file_names, names).tolist()
    return dict(zip((annotation["id"] for annotation in annotations), digests))


def _skips(files: Sequence[CocoFile]) -> dict[str, int]:
    total: dict[str, int] = {}
    for file in files:
        for reason, count in file.report.items():
            total[reason] = total.get(reason, 0) + count
    return total


def _report(found: Predictions, images: dict, skipped: dict[str, int], background: list[str]) -> None:
    print(f"{len(found)} predictions on {len(images)} images")
    without = len(images) - len(set(found.image_ids.tolist()))
    if without:
        print(f"  {without} × images without any prediction: their nameable objects are hard")
    for reason, count in {**found.report, **skipped}.items():
        print(f"  {count} × {reason}")
    if background:
        print(f"  background, since the detector cannot name them: {', '.join(background)}")
    print()


def _names(files: Sequence[CocoFile]) -> str:
    return ", ".join(str(file.path) for file in files)
