"""A detector's AP and object losses by class on a synthetic set, beside those on labelled real images.

The loss of an object is the negative logarithm of its continuous score, the highest score · IoU of any detection of its
class: a classification and a localisation error in one number that every detector and every results file has. An object
without an overlapping detection has an infinite loss.

Objects whose loss is above a multiple of their class's usual loss are left out as in FreeMask (Yang et al., NeurIPS
2023), which does so by pixel, with the mean of a segmentation network's loss; as losses may be infinite, the median on
real images takes the mean's place here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from detdiffusion.evaluation.detection import evaluate_detection
from detdiffusion.perception.attributes import perception_attributes
from detdiffusion.perception.prediction_source import SetPredictions


@dataclass(frozen=True)
class ScoredObjects:
    """AP by class and loss by object of a detector on a labelled set.

    Attributes:
        names: class names by category id, of the classes that the detector knows.
        ap: AP in [0, 1] by class name; classes without objects are left out.
        losses: loss of every object of these classes by annotation id, in [0, inf]; without ignored ones.
        median_loss: median of the losses by class name.
    """

    names: dict[int, str]
    ap: dict[str, float]
    losses: dict[int, float]
    median_loss: dict[str, float]


@dataclass(frozen=True)
class ClassComparison:
    """One class on real images and in a synthetic set; None where a set has no object of it.

    Attributes:
        real_ap, set_ap: AP in [0, 1].
        real_loss, set_loss: median loss of its objects, in [0, inf].
    """

    real_ap: float | None
    set_ap: float | None
    real_loss: float | None
    set_loss: float | None

    @property
    def ap_share(self) -> float | None:
        """AP in the set as a share of that on real images; None if it cannot be compared (real AP 0 or unknown)."""
        return self.set_ap / self.real_ap if self.real_ap and self.set_ap is not None else None

    @property
    def usual_loss(self) -> float | None:
        """Median loss on real images; None if there is nothing to compare with (infinite or unknown)."""
        return self.real_loss if self.real_loss is not None and math.isfinite(self.real_loss) else None


def score_objects(coco: Mapping, found: SetPredictions) -> ScoredObjects:
    """Score the objects of a labelled set.

    Args:
        coco: COCO dict of the set, checked.
        found: a detector's predictions on its images.
    """
    names = {c["id"]: c["name"] for c in coco["categories"] if c["id"] in found.nameable}
    results = found.predictions.to_coco_results()
    ap = evaluate_detection(results, coco, category_ids=sorted(names), per_class=True)["bbox_mAP_per_class"]
    scores = perception_attributes(
        coco["annotations"], found.predictions, found.nameable, class_aware=True
    ).scores
    losses = {key: -math.log(score) if score > 0 else math.inf for key, score in scores.items()}
    by_class = defaultdict(list)
    for annotation in coco["annotations"]:
        if annotation["id"] in losses:
            by_class[names[annotation["category_id"]]].append(losses[annotation["id"]])
    return ScoredObjects(
        names=names,
        ap={name: value for name, value in ap.items() if value >= 0},
        losses=losses,
        median_loss={name: _median(values) for name, values in by_class.items()},
    )


def compare_classes(made: ScoredObjects, real: ScoredObjects) -> dict[str, ClassComparison]:
    """Compare the classes of a synthetic set with those of real images.

    Args:
        made, real: the two sets, scored with one detector.

    Returns:
        The comparison by name of every class that has objects in the set.
    """
    return {
        name: ClassComparison(
            real.ap.get(name), made.ap.get(name), real.median_loss.get(name), made.median_loss[name]
        )
        for name in sorted(made.median_loss)
    }


def refused_classes(comparison: Mapping[str, ClassComparison], min_share: float) -> set[str]:
    """Return the classes whose AP in the set is below a share of that on real images.

    Classes that cannot be compared are not refused.
    """
    return {name for name, c in comparison.items() if c.ap_share is not None and c.ap_share < min_share}


def objects_above(
    coco: Mapping, made: ScoredObjects, comparison: Mapping[str, ClassComparison], times: float
) -> set[int]:
    """Return the annotation ids of objects whose loss is above a multiple of their class's median on real images.

    Args:
        coco: COCO dict of the synthetic set.
        made: its scored objects.
        comparison: result of :func:`compare_classes`; no object of a class without real objects is returned.
        times: the multiple.
    """
    above = set()
    for annotation in coco["annotations"]:
        loss = made.losses.get(annotation["id"])
        usual = None if loss is None else comparison[made.names[annotation["category_id"]]].usual_loss
        if usual is not None and loss > times * usual:
            above.add(annotation["id"])
    return above


def _median(values: list[float]) -> float:
    """Return the lower median, which of finite and infinite values is never their mean."""
    return float(np.sort(values)[(len(values) - 1) // 2])
