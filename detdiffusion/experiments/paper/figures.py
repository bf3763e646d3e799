"""Results of the jobs of the paper in miniature, read from the outputs of their steps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from detdiffusion.evaluation.training_runs import read_run
from detdiffusion.utils.steps import read_result

from .verdicts import rank_correlation

FACTORS = ("contrast", "blur", "texture", "occlusion", "size")
_KEPT = ("bbox_mAP", "bbox_mAP_50", "bbox_mAP_75", "bbox_mAP_full", "frechet", "images", "layouts", "objects")

_read = partial(read_result, rerun="benchmarks/paper_in_miniature.py")


def detector_figures(
    work_dir: Path, things: Mapping[str, Path], attributes: Mapping[str, Path]
) -> dict[str, dict]:
    """Return an attribute detector's AP on real held-out images and the agreement of its attributes with difficulty.

    Args:
        work_dir: work dir of its training.
        things: instances json with ``difficulty``, by split.
        attributes: attributes file by split.
    """
    splits = {split: attribute_agreement(things[split], attributes[split]) for split in things}
    return dict(real=read_run(work_dir).metrics, attributes=splits)


def attribute_agreement(things: Path, attributes: Path) -> dict:
    """Compute the Spearman rank correlation of ``hard`` (1) and ``easy`` (0) with the objects' hidden difficulty.

    Returns:
        ``easy``, ``hard``: counts; ``spearman``: correlation with the difficulty's score; ``factors``: correlation with
        each factor. A correlation is None if all values are equal.
    """
    given = _read(attributes)["attributes"]
    objects = [
        (given[str(a["id"])] == "hard", a["difficulty"])
        for a in _read(things)["annotations"]
        if not a["iscrowd"] and given.get(str(a["id"])) in ("easy", "hard")
    ]
    hard = [int(is_hard) for is_hard, _ in objects]
    return dict(
        easy=len(hard) - sum(hard),
        hard=sum(hard),
        spearman=rank_correlation(hard, [difficulty["score"] for _, difficulty in objects]),
        factors={name: rank_correlation(hard, [d[name] for _, d in objects]) for name in FACTORS},
    )


def fidelity_figures(path: Path) -> dict:
    """Return AP and Fréchet distance of all sets, including the real images, and the bootstrap of ``fidelity.json``."""
    result = _read(path)
    sets = {name: {k: row[k] for k in _KEPT if k in row} for name, row in result["sets"].items()}
    figures = dict(sets=sets, frechet_features=result["protocol"]["frechet_features"], notes=result["notes"])
    if result["bootstrap"]:
        figures["bootstrap"] = result["bootstrap"]
    return figures


def factor_figures(things: Path, real_images: Path, sets: Mapping[str, Path]) -> dict:
    """See :func:`detdiffusion.experiments.paper.factors.compare_factors`, imported here as it needs image libraries."""
    from .factors import compare_factors

    return compare_factors(things, real_images, sets)
