"""The paper's claims as comparisons of quantities, and the location of each quantity in the result files."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from detdiffusion.experiments.common_steps import AUTOENCODER

from .arms import TRAINED
from .verdicts import EQUAL, Claim, Comparison

_NAMES = {"faster-rcnn": "Faster R-CNN", "fcos": "FCOS", "atss": "ATSS"}
_DATA = {
    "real": "real only",
    "real-equal-iters": "real, equal iterations",
    "geodiffusion": "real + GeoDiffusion",
}
_DATA |= {strategy: f"real + {strategy}" for strategy in ("origin", "easy", "hard")}


def _fidelity(job: str, strategy: str) -> tuple[str, tuple[str, ...]]:
    return job, ("sets", strategy, "bbox_mAP")


def _trained(detector: str, data: str) -> str:
    return f"{_NAMES[detector]}, {_DATA[data]}"


QUANTITIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "GeoDiffusion": _fidelity("geodiffusion", "origin"),
    "origin": _fidelity("detdiffusion", "origin"),
    "easy": _fidelity("detdiffusion", "easy"),
    "hard": _fidelity("detdiffusion", "hard"),
    "Attr": _fidelity("attr", "easy"),
    "without √ᾱ": _fidelity("without-sqrt", "easy"),
    "without dice": _fidelity("without-dice", "easy"),
    "Attr of FCOS": _fidelity("other-detector", "easy"),
    "GeoDiffusion's distance": ("geodiffusion", ("sets", "origin", "frechet")),
    "origin's distance": ("detdiffusion", ("sets", "origin", "frechet")),
    "real images": _fidelity("detdiffusion", "real"),
    "autoencoder": _fidelity(AUTOENCODER, AUTOENCODER),
    "rank correlation": ("detector", ("attributes", "val", "spearman")),
    **{
        f"{measure} of {strategy}": ("factors", ("means", strategy, measure))
        for measure in ("contrast", "sharpness", "camouflage")
        for strategy in ("easy", "hard")
    },
    **{
        _trained(detector, data): (f"train-{detector}-{data}", ("real", "bbox_mAP"))
        for detector in TRAINED
        for data in _DATA
    },
}
"""Job, and path in that job's figures, by name of the quantity."""


def _gains(
    detector: str, paper: Mapping[str, float], base: str, base_paper: float | None, role: str = "test"
):
    return tuple(
        Comparison(
            _trained(detector, data),
            _trained(detector, base),
            None if base_paper is None else (paper[data], base_paper),
            role,
        )
        for data in ("origin", "easy", "hard")
    )


_FRCNN = dict(origin=35.3, easy=35.2, hard=35.4)
_FCOS = dict(origin=34.9, easy=34.8, hard=35.0)
_ATSS = dict(origin=37.2, easy=37.1, hard=37.4)

CLAIMS = (
    Claim(
        "C1",
        "The Fréchet distance of origin is below the baseline's",
        "Table 1",
        (Comparison("GeoDiffusion's distance", "origin's distance", (20.16, 19.28)),),
        (1, 3),
    ),
    Claim(
        "C2",
        "A detector finds more in origin than in the baseline's images",
        "Table 1",
        (Comparison("origin", "GeoDiffusion", (29.8, 29.1)),),
    ),
    Claim(
        "C3",
        "Detector AP: easy > origin > hard",
        "Table 1",
        (Comparison("easy", "origin", (31.2, 29.8)), Comparison("origin", "hard", (29.8, 25.3))),
    ),
    Claim(
        "C4",
        "P.A. Attr adds AP, P.A. loss adds more",
        "Table 4",
        (Comparison("Attr", "GeoDiffusion", (30.4, 29.1)), Comparison("easy", "Attr", (31.2, 30.4))),
    ),
    Claim(
        "C5",
        "P.A. loss without √ᾱ is worse",
        "Table 7",
        (Comparison("easy", "without √ᾱ", (31.2, 29.6)),),
    ),
    Claim(
        "C6",
        "P.A. loss without dice is worse",
        "Table 7",
        (Comparison("easy", "without dice", (31.2, 29.6)),),
    ),
    Claim(
        "C7",
        "Synthetic data of every strategy trains a better detector than real images alone and than the baseline's",
        "Table 2",
        (
            *_gains("faster-rcnn", _FRCNN, "real", 34.5),
            *_gains("faster-rcnn", _FRCNN, "geodiffusion", 34.8),
            *_gains("faster-rcnn", _FRCNN, "real-equal-iters", None, EQUAL),
        ),
    ),
    Claim(
        "C8",
        "Trainability: hard ≥ origin ≥ easy, and hard > easy",
        "Table 2",
        (
            Comparison(_trained("faster-rcnn", "hard"), _trained("faster-rcnn", "easy"), (35.4, 35.2)),
            Comparison(
                _trained("faster-rcnn", "hard"), _trained("faster-rcnn", "origin"), (35.4, 35.3), "order"
            ),
            Comparison(
                _trained("faster-rcnn", "origin"), _trained("faster-rcnn", "easy"), (35.3, 35.2), "order"
            ),
        ),
    ),
    Claim(
        "C9",
        "FCOS and ATSS gain too",
        "Table 5",
        (
            *_gains("fcos", _FCOS, "real", 33.7),
            *_gains("atss", _ATSS, "real", 36.3),
            *_gains("fcos", _FCOS, "geodiffusion", None, "note"),
            *_gains("atss", _ATSS, "geodiffusion", None, "note"),
            *_gains("fcos", _FCOS, "real-equal-iters", None, EQUAL),
            *_gains("atss", _ATSS, "real-equal-iters", None, EQUAL),
        ),
    ),
    Claim(
        "C10",
        "Attributes of the evaluating detector beat those of another",
        "Table 6",
        (Comparison("Attr", "Attr of FCOS", (30.4, 29.5)),),
    ),
    Claim(
        "M1",
        "The attribute agrees with the hidden difficulty: rank correlation above 0.3 on held-out objects",
        "MiniScenes alone",
        (Comparison("rank correlation", 0.3),),
        (1, 2),
    ),
    Claim(
        "M2",
        "Generated hard objects are harder in the measured factors: less contrast, less sharp, more camouflage",
        "MiniScenes alone",
        (
            Comparison("contrast of easy", "contrast of hard"),
            Comparison("sharpness of easy", "sharpness of hard"),
            Comparison("camouflage of hard", "camouflage of easy"),
        ),
        (1, 3),
    ),
)


def jobs_of_claims(names: Collection[str]) -> set[str]:
    """Return the names of the jobs that claims need, always including the detector's and the bound's.

    Raises:
        KeyError: a claim does not exist.
    """
    claims = {claim.name: claim for claim in CLAIMS}
    wanted = {"detector", AUTOENCODER}
    for name in names:
        for comparison in claims[name].comparisons:
            sides = (comparison.higher, comparison.lower)
            wanted |= {QUANTITIES[side][0] for side in sides if isinstance(side, str)}
    return wanted


def quantities(figures: Mapping[str, Mapping]) -> dict[str, float]:
    """Return the available quantities of one seed.

    Args:
        figures: figures of the result files, by name of the job.

    Returns:
        Values by name of the quantity. An AP of -1 (no objects) counts as missing.
    """
    found = {}
    for name, (job, path) in QUANTITIES.items():
        value = figures.get(job)
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None and not (path[-1] == "bbox_mAP" and value < 0):
            found[name] = float(value)
    return found
