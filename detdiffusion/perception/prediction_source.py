"""Predictions on an annotated data set, from a detector or from a file of its results."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.datasets.class_names import class_list, read_names
from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.files import sha256_of
from detdiffusion.utils.shared_options import PredictionOptions

from .detector_factory import load_detector
from .predictions import Predictions, read_results


@dataclass(frozen=True)
class SetPredictions:
    """Predictions on a set, with a description of the detector.

    Attributes:
        predictions: predictions on the set's images.
        nameable: ids of the set's categories that the detector knows.
        detector: description of the detector in result files, as json values.
    """

    predictions: Predictions
    nameable: set[int]
    detector: dict


def predict_set(
    source: PredictionOptions,
    images: Sequence[dict],
    category_ids: Mapping[str, int],
    img_dir: str | Path | None,
    ann_files: Iterable[str | Path],
    out: str | Path,
) -> SetPredictions:
    """Return predictions on the images of a set.

    Args:
        source: the detector, or its results.
        images: COCO image dicts.
        category_ids: category ids of the set, by class name.
        img_dir: folder of the images; not needed with results.
        ann_files: annotation files of the set, for messages.
        out: output file of the caller; predictions are cached next to it unless ``source`` sets another folder.

    Raises:
        UserError: a file is missing or not valid, or the detector knows none of the set's categories.
    """
    if source.predictions is not None:
        found = read_results(
            source.predictions, {image["id"]: image for image in images}, set(category_ids.values())
        )
        nameable = _nameable_ids(found, source.detector_classes, category_ids, source.predictions)
        detector = dict(predictions=str(source.predictions), sha256=sha256_of(source.predictions))
        return SetPredictions(found, nameable, detector)
    model = load_detector(*source.detector, source.device, source.cfg_options)
    nameable = {category_ids[name] for name in model.classes if name in category_ids}
    if not nameable:
        raise UserError(
            f"{source.detector[1]}: none of the detector's {len(model.classes)} classes ({some(model.classes, 5)}) "
            f"is a category of {', '.join(map(str, ann_files))} ({some(category_ids, 5)}): it cannot detect any of the "
            "objects"
        )
    found = model.predict(
        images,
        img_dir,
        category_ids,
        batch_size=source.batch_size,
        num_workers=source.num_workers,
        cache=source.cache_beside(Path(out)),
    )
    return SetPredictions(found, nameable, model.describe())


def _nameable_ids(
    found: Predictions,
    detector_classes: Sequence[str] | None,
    category_ids: Mapping[str, int],
    path: str | Path,
) -> set[int]:
    """Return the category ids known to a detector of which only results are given."""
    if detector_classes is None:
        nameable = set(found.category_ids.tolist())
        if not nameable:
            raise UserError(
                f"{path}: has no prediction, so the detector's classes are unknown; "
                "give them by `detector_classes`"
            )
        return nameable
    detector_classes = class_list(detector_classes, "`detector_classes`")
    if len(detector_classes) == 1 and detector_classes[0].endswith(".txt"):
        detector_classes = _read_lines(detector_classes[0])
    for name in detector_classes:
        if name not in category_ids:
            near = difflib.get_close_matches(name, category_ids, n=3)
            hint = f"near matches: {', '.join(near)}" if near else f"it has {some(category_ids, 5)}"
            raise UserError(f"`detector_classes`: no category {name!r} in the annotation files; {hint}")
    nameable = {category_ids[name] for name in detector_classes}
    names = {key: name for name, key in category_ids.items()}
    extra = sorted(names[key] for key in set(found.category_ids.tolist()) - nameable)
    if extra:
        raise UserError(
            f"{path}: has predictions of {some(extra, 5)}, which are not in `detector_classes`; add the name(s)"
        )
    return nameable


def _read_lines(path: str) -> list[str]:
    try:
        return read_names(path)
    except (OSError, UnicodeDecodeError) as err:
        raise UserError(f"`detector_classes` {path}: cannot be read: {err}") from None
