"""Rules of the quality gate that compare a synthetic set with labelled real images, by one detector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from detdiffusion.datasets.coco_json import read_coco
from detdiffusion.datasets.image_files import image_folder
from detdiffusion.evaluation.class_comparison import (
    ClassComparison,
    ScoredObjects,
    compare_classes,
    objects_above,
    refused_classes,
    score_objects,
)
from detdiffusion.generation.gate_options import GateReference, GateRules
from detdiffusion.perception.prediction_source import SetPredictions, predict_set
from detdiffusion.utils.errors import UserError
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
    """

    by_class: dict[str, dict] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    high_loss: set[int] = field(default_factory=set)


NO_COMPARISON = RealComparison()


def check_reference(rules: GateRules, source: PredictionOptions, reference: GateReference) -> None:
    """Check that rules that compare with real images have them, and one detector for both.

    Raises:
        UserError: they do not.
    """
    if rules.compare_with_real and reference.real_ann is None:
        raise UserError(
            "`min_class_ap` and `max_loss` compare with real images; give their annotations by `real_ann`"
        )
    results = source.predictions is not None, reference.real_predictions is not None
    if reference.real_ann is not None and results[0] != results[1]:
        raise UserError(
            "the set and the real images must be judged by the same detector: give `detector`, or both `predictions` "
            "and `real_predictions`"
        )


def compare_with_real(
    coco: Mapping,
    found: SetPredictions,
    reference: GateReference,
    rules: GateRules,
    source: PredictionOptions,
    out: Path,
) -> RealComparison:
    """Compare a set with real images, and apply the rules that need the comparison.

    Args:
        coco: COCO dict of the set, checked.
        found: predictions on its images.
        reference: the real images.
        rules: ``min_class_ap`` and ``max_loss``.
        source: the detector of ``found``, which also sees the real images; or results, replaced by those of
            ``reference``.
        out: output file of the caller, see :func:`~detdiffusion.perception.prediction_source.predict_set`.

    Raises:
        UserError: a file of the real images is missing or not valid.
    """
    made, real = score_objects(coco, found), _score_real(reference, source, out)
    comparison = compare_classes(made, real)
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
    )


def _score_real(reference: GateReference, source: PredictionOptions, out: Path) -> ScoredObjects:
    file = read_coco(reference.real_ann)
    if file.findings:
        print(file.summary())
    folder = None
    if source.predictions is None:
        folder = image_folder(reference.real_img_dir, file.path, "`real_img_dir`")
    else:
        source = replace(source, predictions=reference.real_predictions)
    ids_of_name = {category["name"]: category["id"] for category in file.categories}
    coco = dict(images=file.images, annotations=file.annotations, categories=file.categories)
    return score_objects(
        coco, predict_set(source, file.images, ids_of_name, folder, [reference.real_ann], out)
    )


def _row(one: ClassComparison, refused: bool) -> dict:
    values = dict(asdict(one), ap_share=one.ap_share)
    shown = {
        key: "-" if value is None else round(value, 4) if math.isfinite(value) else "infinite"
        for key, value in values.items()
    }
    return dict(shown, refused="yes" if refused else "no")
