"""Settings of attribute extraction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detdiffusion.utils.option_groups import OptionGroup, documented, option
from detdiffusion.utils.shared_options import FoundRule


@documented
@dataclass(frozen=True, kw_only=True)
class AttributeRule(FoundRule):
    """How a detector's predictions become attributes, see :func:`.attributes.perception_attributes`."""

    class_aware: bool = option(False, "only predictions of the object's own class count")
    levels: Sequence[str] | None = option(
        None,
        "levels of difficulty in place of easy and hard, easiest first, by the highest IoU x score: a level holds what "
        "lies above its threshold, the last the rest; without thresholds: equal shares",
        metavar="NAME[=THR]",
        nargs="+",
    )


@documented
@dataclass(frozen=True, kw_only=True)
class AttributeFiles(OptionGroup):
    """What attribute extraction writes."""

    out: str | Path = option(
        help="attributes file (json) to write; a picture and the predictions go beside it, under its name with .png "
        "and .predictions",
        metavar="FILE",
    )
    with_scores: bool = option(
        False, "also write the continuous score, the highest IoU x score", flag="--scores"
    )
    save_predictions: str | Path | None = option(
        None, "with a detector: also write what it found, as COCO results", metavar="RESULTS.json"
    )
