"""The arms of the low-data benchmark: what a learner is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

EDITS = MappingProxyType({"jitter": 0.1, "flip": 0.5, "swap": 0.3, "drop": 0.1})
"""Edits that make new layouts of the training layouts, see ``tools/generate.py --edit``."""
REAL, ORACLE = "real", "oracle"
"""The arm that gains are measured against, and the one with further real images."""
FROM_BASE = "base-"
"""Begin of the names of arms whose generator starts from the captions-only base."""


@dataclass(frozen=True)
class Arm:
    """An arm.

    Attributes:
        name: its name.
        config: word of its config, ``configs/trainability/LEARNER_WORD_miniscenes.py``.
        strategy: strategy of its generated images; None for an arm without.
        edits: edits of their layouts.
        from_base: whether their generator starts from the captions-only base.
        further: further splits of real images.
    """

    name: str
    config: str
    strategy: str | None = None
    edits: Mapping[str, float] = field(default_factory=dict)
    from_base: bool = False
    further: tuple[str, ...] = ()


def _generated(prefix: str) -> tuple[Arm, ...]:
    base = prefix == FROM_BASE
    same = [Arm(f"{prefix}{word}", "mixed-halves", word, {}, base) for word in ("origin", "easy", "hard")]
    edited = [Arm(f"{prefix}edited-{word}", "mixed-halves", word, EDITS, base) for word in ("origin", "hard")]
    return *same, *edited


ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(REAL, "real"),
        Arm("augmented", "augmented"),
        Arm("copy-paste", "copy-paste"),
        *_generated(""),
        *_generated(FROM_BASE),
        Arm(ORACLE, "more", further=("more",)),
    )
}


def default_arms(from_base: bool) -> list[str]:
    """Return the names of the arms of a run; of those from the captions-only base the edited ones."""
    of_base = (f"{FROM_BASE}edited-origin", f"{FROM_BASE}edited-hard") if from_base else ()
    return [name for name, arm in ARMS.items() if not arm.from_base or name in of_base]
