"""The arms of the paper in miniature: generators, their sets, and the detectors that are trained on them."""

from __future__ import annotations

from dataclasses import dataclass

DETECTOR, OTHER_DETECTOR = "atss", "fcos"
STRATEGIES = ("easy", "origin", "hard")
BASELINE = "configs/geodiffusion_miniscenes.py"


@dataclass(frozen=True)
class Arm:
    """A generator and the held-out sets that are generated with it.

    Attributes:
        config: config of the generator.
        title: title for the user.
        strategies: strategies of its sets; models without attributes support only ``origin``.
        attributes: name of the attribute detector, None for a model without attributes.
    """

    config: str
    title: str
    strategies: tuple[str, ...]
    attributes: str | None = DETECTOR


ARMS = {
    "geodiffusion": Arm(BASELINE, "GeoDiffusion", ("origin",), None),
    "attr": Arm("configs/ablations/detdiffusion_attr-only_miniscenes.py", "P.A. Attr", ("easy",)),
    "detdiffusion": Arm("configs/detdiffusion_miniscenes.py", "P.A. Attr and P.A. loss", STRATEGIES),
    "without-sqrt": Arm(
        "configs/ablations/detdiffusion_without-sqrt-alpha-bar_miniscenes.py",
        "without sqrt(alpha_bar_t)",
        ("easy",),
    ),
    "without-dice": Arm(
        "configs/ablations/detdiffusion_without-dice_miniscenes.py", "without dice", ("easy",)
    ),
    "other-detector": Arm(
        "configs/ablations/detdiffusion_attr-only_miniscenes.py",
        "P.A. Attr of FCOS",
        ("easy",),
        OTHER_DETECTOR,
    ),
}
SETS = {
    "geodiffusion": ("geodiffusion", "origin"),
    "origin": ("detdiffusion", "origin"),
    "easy": ("detdiffusion", "easy"),
    "hard": ("detdiffusion", "hard"),
}
"""Arm and strategy of the synthetic training sets, by name."""
REAL = ("real", "real-equal-iters")
TRAINED = ("faster-rcnn", "fcos", "atss")
"""Detectors of the trainability experiments."""
