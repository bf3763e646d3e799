"""The arms of the low-data benchmark: what a learner is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

EDITS = MappingProxyType({"jitter": 0.1, "flip": 0.5, "swap": 0.3, "drop": 0.1})
"""Edits that make new layouts of the training layouts, see ``tools/generate.py --edit``."""
KEEPING_EDITS = MappingProxyType({name: value for name, value in EDITS.items() if name != "jitter"})
"""Those that leave most objects of a layout in place."""
FROM_REAL = 0.6
"""Strength of a start from the real images, see ``tools/generate.py --from-real``."""
MISSED_ARE_IGNORED = ("--missed", "ignore")
"""Rules of the gated arm, see ``tools/quality_gate.py``."""
REAL, COPY_PASTE, ORACLE, ORACLE_COPY_PASTE = "real", "copy-paste", "oracle", "oracle-copy-paste"
"""The arm that gains are measured against, the cheap one beside it, and both with further real images."""
MORE, LOOKS = "more", "looks"
"""Further splits: real images of the look, and the scenes in random looks that the layout checkpoint was trained on."""
FROM_BASE = "base-"
"""Begin of the names of sets whose generator starts from the captions-only base."""


@dataclass(frozen=True)
class GeneratedSet:
    """A set of generated images.

    Attributes:
        name: its name.
        strategy: strategy of its attributes.
        edits: edits of its layouts.
        layouts: source of new layouts, see ``tools/generate.py --layouts``; None keeps those of the images.
        from_real: strength of a start from the real images; None starts from noise.
        keep: what stays of the real images.
    """

    name: str
    strategy: str = "origin"
    edits: Mapping[str, float] = field(default_factory=dict)
    layouts: str | None = None
    from_real: float | None = None
    keep: str | None = None

    @property
    def from_base(self) -> bool:
        """Whether its generator starts from the captions-only base."""
        return self.name.startswith(FROM_BASE)

    def flags(self) -> list[str]:
        """Return the flags of ``tools/generate.py`` for new layouts and what is kept."""
        given = {"--layouts": self.layouts, "--keep": self.keep}
        return [word for flag, value in given.items() if value for word in (flag, value)]


@dataclass(frozen=True)
class Arm:
    """An arm.

    Attributes:
        name: its name.
        config: word of its config, ``configs/trainability/LEARNER_WORD_miniscenes.py``.
        generated: name of its generated set; None for an arm without.
        gate: rules of ``tools/quality_gate.py`` for the set, the same in all arms of a set that have some; none leaves
            it as it is.
        options: overrides of the config.
        further: further splits of labelled images, :data:`MORE` or :data:`LOOKS`.
    """

    name: str
    config: str
    generated: str | None = None
    gate: tuple[str, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    further: tuple[str, ...] = ()

    @property
    def from_base(self) -> bool:
        """Whether its generator starts from the captions-only base."""
        return bool(self.generated) and SETS[self.generated].from_base


def _redrawn(prefix: str = "") -> list[GeneratedSet]:
    same = [GeneratedSet(f"{prefix}{word}", word) for word in ("origin", "easy", "hard")]
    return [*same, *(GeneratedSet(f"{prefix}edited-{word}", word, EDITS) for word in ("origin", "hard"))]


SETS: Mapping[str, GeneratedSet] = {
    one.name: one
    for one in (
        *_redrawn(),
        GeneratedSet("recompose", layouts="recompose"),
        GeneratedSet("sample", layouts="sample"),
        GeneratedSet("from-real-hard", "hard", from_real=FROM_REAL),
        GeneratedSet("real-background", edits=EDITS, from_real=1.0, keep="background"),
        GeneratedSet("real-objects", edits=KEEPING_EDITS, from_real=1.0, keep="objects"),
        *_redrawn(FROM_BASE),
    )
}
ARMS: Mapping[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(REAL, "real"),
        Arm("augmented", "augmented"),
        Arm(COPY_PASTE, "copy-paste"),
        Arm("augmented-copy-paste", "augmented-copy-paste"),
        *(Arm(name, "mixed-halves", name) for name in SETS),
        Arm("edited-gated", "mixed-halves", "edited-origin", MISSED_ARE_IGNORED),
        Arm("edited-falling", "mixed-schedule", "edited-origin"),
        Arm(
            "edited-half-weight",
            "mixed-schedule",
            "edited-origin",
            options={"first_share": 0.5, "last_share": 0.5, "synthetic_weight": 0.5},
        ),
        Arm("edited-copy-paste", "copy-paste-halves", "edited-origin"),
        Arm("edited-gated-copy-paste", "copy-paste-halves", "edited-origin", MISSED_ARE_IGNORED),
        Arm("edited-falling-copy-paste", "copy-paste-schedule", "edited-origin"),
        Arm("edited-copy-paste-both", "copy-paste-both", "edited-origin"),
        Arm("sample-copy-paste", "copy-paste-halves", "sample"),
        Arm("sample-falling-copy-paste", "copy-paste-schedule", "sample"),
        Arm("looks-falling-copy-paste", "copy-paste-schedule", further=(LOOKS,)),
        Arm(ORACLE, "more", further=(MORE,)),
        Arm(ORACLE_COPY_PASTE, "copy-paste-more", further=(MORE,)),
    )
}


def default_arms(from_base: bool) -> list[str]:
    """Return the names of the arms of a run; of those from the captions-only base the edited ones, and none that needs
    :data:`LOOKS`, which every job would draw."""
    of_base = (f"{FROM_BASE}edited-origin", f"{FROM_BASE}edited-hard") if from_base else ()
    return [
        name
        for name, arm in ARMS.items()
        if (not arm.from_base or name in of_base) and LOOKS not in arm.further
    ]
