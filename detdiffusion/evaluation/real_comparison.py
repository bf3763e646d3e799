"""Rules of the quality gate that compare a synthetic set with labelled real images, by one detector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from detdiffusion.datasets.coco_json import CocoFile, read_coco
from detdiffusion.datasets.image_files import image_folder
from detdiffusion.datasets.image_survey import check_present
from detdiffusion.evaluation.class_comparison import (
    ClassComparison,
    compare_classes,
    objects_above,
    refused_classes,
    score_objects,
)
from detdiffusion.generation.gate_options import GateReference, GateRules
from detdiffusion.perception.prediction_source import SetPredictions, predict_set
from detdiffusion.utils.errors import UserError, some
from detdiffusion.utils.shared_options import PredictionOptions

COMPARED = dict(
    real_ap="AP real",
    set_ap="AP set",
    ap_share="share",
    real_loss="loss real",
    set_loss="loss set",
    refused="refused",
)
"""Columns of :attr:`RealComparison.by_class`, and their headings in a table."""


@dataclass(frozen=True)
class RealComparison:
    """What the rules leave out, and the comparison that they are based on.

    Attributes:
        by_class: the values of :data:`COMPARED` by class name, as json values: AP in [0, 1], losses, or '-' where there
            is nothing to compare.
        refused: category ids of the refused classes.
        high_loss: annotation ids of the objects with a high loss.
        nameable: ids of the set's categories that the detector knows. With results these are the classes that it
            predicts in either set, as it may find none of a class that the set shows badly.
    """

    by_class: dict[str, dict] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    high_loss: set[int] = field(default_factory=set)
    nameable: set[int] = field(default_factory=set)


NO_COMPARISON = RealComparison()


@dataclass(frozen=True)
class RealImages:
    """Labelled real images to compare with.

    Attributes:
        file: their annotations.
        img_dir: folder of the images; None with results.
        source: the detector of the set, or its results on the real images.
    """

    file: CocoFile
    img_dir: Path | None
    source: PredictionOptions


def read_real_images(
    reference: GateReference, rules: GateRules, source: PredictionOptions
) -> RealImages | None:
    """Read the annotations of real images and find their files, before the detector runs.

    Args:
        reference: the real images.
        rules: the rules to apply, of which some compare with real images.
        source: the detector of the set, or its results on the set.

    Returns:
        The real images; None if no annotations are given.

    Raises:
        UserError: a rule needs real images and there are none, only one of the two sets has results, or a file is
            missing or not valid.
    """
    if reference.real_ann is None:
        if rules.compare_with_real:
            raise UserError(
                "`min_class_ap` and `max_loss` compare with real images; give their annotations by `real_ann`"
            )
        return None
    if (source.predictions is None) != (reference.real_predictions is None):
        raise UserError(
            "the set and the real images must be judged by the same detector: give `detector`, or both `predictions` "
            "and `real_predictions`"
        )
    file = read_coco(reference.real_ann)
    if file.findings:
        print(file.summary())
    if source.predictions is not None:
        return RealImages(file, None, replace(source, predictions=reference.real_predictions))
    folder = image_folder(reference.real_img_dir, file.path, "`real_img_dir`")
    check_present(file.images, folder)
    return RealImages(file, folder, source)


def compare_with_real(
    coco: Mapping, found: SetPredictions, real: RealImages, rules: GateRules, out: Path
) -> RealComparison:
    """Compare a set with real images, and apply the rules that need the comparison.

    Args:
        coco: COCO dict of the set, checked.
        found: predictions on its images.
        real: the real images, which the same detector sees.
        rules: ``min_class_ap`` and ``max_loss``.
        out: output file of the caller, see :func:`~detdiffusion.perception.prediction_source.predict_set`.

    Raises:
        UserError: the predictions are missing or not valid, or no class can be compared although a rule needs it.
    """
    real_coco = real.file.as_json()
    ids, real_ids = _ids_of_name(coco), _ids_of_name(real_coco)
    real_found = _predict_real(ids, found, real, real_ids, out)
    known = _known(ids, found) | _known(real_ids, real_found)
    found = replace(found, nameable={ids[name] for name in known & ids.keys()})
    real_found = replace(real_found, nameable={real_ids[name] for name in known & real_ids.keys()})
    made = score_objects(coco, found)
    comparison = compare_classes(made, score_objects(real_coco, real_found))
    _check_comparable(comparison, rules, coco, real_coco, real.file.path)
    refused: set[str] = set()
    if rules.min_class_ap is not None:
        refused = refused_classes(comparison, rules.min_class_ap)
    high_loss: set[int] = set()
    if rules.max_loss is not None:
        high_loss = objects_above(coco, made, comparison, rules.max_loss)
    return RealComparison(
        {name: _row(one, name in refused) for name, one in comparison.items()},
        {key for key, name in made.names.items() if name in refused},
        high_loss,
        found.nameable,
    )


def _predict_real(
    ids: Mapping[str, int], found: SetPredictions, real: RealImages, real_ids: Mapping[str, int], out: Path
) -> SetPredictions:
    source, path = real.source, real.file.path
    if source.detector_classes is not None:
        # The names were checked with the set's categories; the real images may have fewer classes, or others.
        known = _known(ids, found)
        if not known & real_ids.keys():
            raise UserError(
                f"`detector_classes`: none of them ({some(sorted(known), 5)}) is a category of {path} "
                f"({some(real_ids, 5)})"
            )
        classes = [name for name in real_ids if name in known or name not in ids]
        source = replace(source, detector_classes=classes)
    return predict_set(source, real.file.images, real_ids, real.img_dir, [path], out)


def _ids_of_name(coco: Mapping) -> dict[str, int]:
    return {category["name"]: category["id"] for category in coco["categories"]}


def _known(ids: Mapping[str, int], found: SetPredictions) -> set[str]:
    return {name for name, key in ids.items() if key in found.nameable}


def _check_comparable(
    comparison: Mapping[str, ClassComparison], rules: GateRules, coco: Mapping, real: Mapping, path: Path
) -> None:
    """Raise a UserError if a rule has no class to compare."""
    comparable = dict(
        min_class_ap=any(one.ap_share is not None for one in comparison.values()),
        max_loss=any(one.usual_loss is not None for one in comparison.values()),
    )
    for rule, possible in comparable.items():
        if getattr(rules, rule) is not None and not possible:
            raise UserError(
                f"{path}: `{rule}` can compare no class: the real images show {_shown(real)}, the set {_shown(coco)}; "
                "give real images with classes of the set, under the same names, that the detector finds"
            )


def _shown(coco: Mapping) -> str:
    shown = {annotation["category_id"] for annotation in coco["annotations"] if not annotation["iscrowd"]}
    return (
        some((category["name"] for category in coco["categories"] if category["id"] in shown), 5)
        or "no class"
    )


def _row(one: ClassComparison, refused: bool) -> dict:
    values = dict(asdict(one), ap_share=one.ap_share)
    shown = {
        key: "-" if value is None else round(value, 4) if math.isfinite(value) else "infinite"
        for key, value in values.items()
    }
    return dict(shown, refused="yes" if refused else "no")
