"""Options of the quality gate: thresholds of the verdicts, rules, and the real images to compare with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from detdiffusion.utils.errors import UserError
from detdiffusion.utils.option_groups import OptionGroup, documented, option
from detdiffusion.utils.shared_options import IMAGE_FOLDER, FoundRule

KEEP, IGNORE, DROP = "keep", "ignore", "drop"


@documented
@dataclass(frozen=True, kw_only=True)
class GateThresholds(FoundRule):
    """Thresholds for kept, moved and missed objects, see :func:`.quality_gate.judge`.

    Raises:
        UserError: ``moved_iou`` is not above 0, or is above ``iou_thr``.
    """

    moved_iou: float = option(
        0.1,
        "an object whose IoU is between this and `iou_thr` is moved, default: %(default)s",
        metavar="THR",
        minimum=0,
        below=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.moved_iou <= self.iou_thr:
            raise UserError(f"`moved_iou` must be above 0 and at most `iou_thr`, got {self.moved_iou}")


@documented
@dataclass(frozen=True, kw_only=True)
class GateRules(OptionGroup):
    """Actions taken on a detector's verdicts; by default none.

    'ignore' turns an object into an ignored region (``iscrowd`` 1), which a detector learns neither as an object nor
    as background; images without a judged object are kept.

    Raises:
        UserError: ``refused`` is 'drop' without ``min_class_ap``.
    """

    min_found: float = option(
        0.0,
        "drop images with a smaller fraction of found objects (kept objects, and moved objects that are refined), "
        "default: %(default)s",
        metavar="SHARE",
        minimum=0,
        maximum=1,
    )
    missed: str = option(KEEP, "missed objects, default: %(default)s", choices=(KEEP, IGNORE, DROP))
    moved: str = option(KEEP, "moved objects, default: %(default)s", choices=(KEEP, IGNORE, DROP))
    extra: str = option(
        KEEP, "ignore: extra detections become ignored regions, default: %(default)s", choices=(KEEP, IGNORE)
    )
    refine: float = option(
        0.0,
        "move boxes of kept and moved objects this fraction of the way to their detection, default: %(default)s",
        metavar="SHARE",
        minimum=0,
        maximum=1,
    )
    refine_score: float = option(
        0.7,
        "refine boxes only by detections above this score, default: %(default)s",
        metavar="SCORE",
        minimum=0,
        maximum=1,
    )
    min_class_ap: float | None = option(
        None,
        "refuse classes whose AP in the set is below this share of their AP on the real images",
        metavar="SHARE",
        minimum=0,
    )
    refused: str = option(
        IGNORE,
        "objects of refused classes; drop: images with such an object are dropped, default: %(default)s",
        choices=(IGNORE, DROP),
    )
    max_loss: float | None = option(
        None,
        "ignore objects whose loss, -log(score * IoU) of their best detection, is above this multiple of the median "
        "of their class on the real images",
        metavar="TIMES",
        minimum=0,
    )
    best_samples: int | None = option(
        None,
        "of the remaining images of each source image, keep only this number: those whose objects are found best",
        metavar="N",
        minimum=1,
    )
    draw_up_to: int | None = option(
        None,
        "also write how many images to draw of each layout next, from 1 to this number, the more the worse its "
        "objects are found, for --samples-file of tools/generate.py",
        metavar="N",
        minimum=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.refused == DROP and self.min_class_ap is None:
            raise UserError(f"`refused` {DROP!r} requires `min_class_ap`: without it, no class is refused")

    @property
    def compare_with_real(self) -> bool:
        """Whether a rule requires real images."""
        return self.min_class_ap is not None or self.max_loss is not None


@documented
@dataclass(frozen=True, kw_only=True)
class GateReference(OptionGroup):
    """Labelled real images, on which the same detector shows what to expect of a class.

    They should be images that the detector was not trained on.

    Raises:
        UserError: images or predictions without annotations.
    """

    real_ann: str | Path | None = option(
        None, "COCO annotations of real images, for the rules that compare with them", metavar="ANN.json"
    )
    real_img_dir: str | Path | None = option(
        None, "folder of their images (default: 'images' next to the file or to its folder)", **IMAGE_FOLDER
    )
    real_predictions: str | Path | None = option(
        None,
        "COCO results json of the detector on the real images, where its results on the set are given, too",
        metavar="RESULTS.json",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("real_img_dir", "real_predictions"):
            if getattr(self, name) is not None and self.real_ann is None:
                raise UserError(f"`{name}` requires `real_ann`, the annotations of the real images")

    def as_json(self) -> dict[str, str | None]:
        """Return the fields as json values."""
        return {key: None if value is None else str(value) for key, value in asdict(self).items()}
