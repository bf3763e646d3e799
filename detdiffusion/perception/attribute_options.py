"""Options of attribute extraction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.utils.option_groups import OptionGroup, documented, option
from detdiffusion.utils.shared_options import FoundRule


@documented
@dataclass(frozen=True, kw_only=True)
class AttributeRule(FoundRule):
    """How predictions determine attributes, see :func:`.attributes.perception_attributes`."""

    class_aware: bool = option(False, "match objects only with predictions of the same class")
    levels: Sequence[str] | None = option(
        None,
        "levels of difficulty instead of easy and hard, easiest first, by the highest IoU x score: objects above a "
        "threshold get its level, the rest get the last level; without thresholds, levels of equal size",
        metavar="NAME[=THR]",
        nargs="+",
    )


@documented
@dataclass(frozen=True, kw_only=True)
class AttributeFiles(OptionGroup):
    """Files written by attribute extraction."""

    out: str | Path = option(
        help="attributes file (json) to write; a plot and the predictions are written under the same name with suffix "
        ".png and .predictions",
        metavar="FILE",
    )
    with_scores: bool = option(
        False, "also write the continuous score, the highest IoU x score", flag="--scores"
    )
    save_predictions: str | Path | None = option(
        None, "with a detector: also write its predictions as COCO results", metavar="RESULTS.json"
    )
